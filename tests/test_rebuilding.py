"""Rebuilding the space of a pool: it may be written first, newcomers are explained too, and nobody sees a half."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xpert import opening
from xpert.building import BuiltSpace
from xpert.errors import PoolError
from xpert.explaining import explain_embeddings
from xpert.pool import open_pool
from xpert.pool.creating import create_pool
from xpert.pool.setup import PoolSetup
from xpert.records import Explanation
from xpert.space.basis import Space
from xpert.testing.tiny import tiny_adapter, tiny_base

SETUP = PoolSetup(base="b", summarizer="s")


def space(origin: float) -> Space:
    empty = Space((), np.zeros((0, 3)), np.full(3, origin), np.zeros((2, 3)), 1.0, "s", "b", "p")
    return empty.with_word("formal", np.array([1.0, 0.0, 0.0]))


def explained(where: Space, shift: float) -> Explanation:
    return explain_embeddings(np.full((4, 3), shift), where, prompts="p")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    tiny_base(folder)
    for seed in range(3):
        tiny_adapter(folder, folder.parent / f"adapter-{seed}", seed=seed)
    return folder


def add(folder: Path, base: Path, number: int) -> None:
    with open_pool(folder) as pool:
        adapter = base.parent / f"adapter-{number}"
        pool.add(
            adapter, base_folder=base, base_name="b", name=f"p{number}", explain=lambda _: explained(space(0.0), number)
        )


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    create_pool(tmp_path / "pool", (space(0.0), SETUP)).close()
    for number in (0, 1):
        add(tmp_path / "pool", base, number)
    return tmp_path / "pool"


def named(folder: Path) -> str:
    """The space that the catalog names."""
    with open_pool(folder, read_only=True) as pool:
        return pool.space.digest


def builds(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """A building that takes its time; meanwhile something happens to the pool."""

    def build(_: PoolSetup, adapters: dict[str, Path], *__: object) -> tuple[BuiltSpace, Callable[[Path], Explanation]]:
        meanwhile()
        new = space(1.0)
        rows = {name: np.full((4, 3), 5.0) for name in adapters}
        return BuiltSpace(new, (), None, rows), lambda path: explained(new, 7.0 if path.is_dir() else 0.0)

    monkeypatch.setattr(opening, "_build", build)


def spaces(folder: Path) -> set[str]:
    with open_pool(folder, read_only=True) as pool:
        return {record.explanation.digests.space for record in pool.list() if record.explanation is not None}


def test_a_newcomer_is_explained_in_the_new_space_and_told_of(
    folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds(monkeypatch, lambda: add(folder, base, 2))
    with open_pool(folder) as pool:
        built = opening.rebuild(pool, SETUP)
        assert built.newcomers == ("p2",)
        assert pool.get("p2").explanation == explained(built.space, 7.0)
    assert spaces(folder) == {named(folder)} == {space(1.0).digest}


def test_one_that_is_removed_meanwhile_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_pool(folder) as pool:
        builds(monkeypatch, lambda: pool.remove("p0"))
        assert opening.rebuild(pool, SETUP).newcomers == ()
        assert [record.name for record in pool.list()] == ["p1"]
    assert spaces(folder) == {space(1.0).digest}


def test_a_building_that_fails_leaves_the_old_pool(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    builds(monkeypatch, fail)
    with open_pool(folder) as pool, pytest.raises(KeyboardInterrupt):
        opening.rebuild(pool, SETUP)
    assert spaces(folder) == {named(folder)} == {space(0.0).digest}


def test_a_read_only_pool_is_refused_before_anything_is_built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds(monkeypatch, lambda: pytest.fail("built, although nothing may be written"))
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with open_pool(folder, read_only=True) as pool, pytest.raises(PoolError, match="cannot reindex pool"):
        opening.rebuild(pool, SETUP)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
