"""A pool whose space is changed is, at every kill, the old pool or the new one; never rows of one in the other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from xpert.errors import MismatchError, PoolError, StorageError
from xpert.pool import Pool, open_pool
from xpert.pool.artifacts import ArtifactStore
from xpert.pool.creating import create_pool
from xpert.pool.discarding import discard
from xpert.pool.restoring import restore
from xpert.pool.setup import SPACE_FILE, PoolSetup
from xpert.pool.spaces import put_space, spaces_in
from xpert.records import Explanation
from xpert.space.basis import Space
from xpert.testing.catalogs import sample_explanation, sample_record

NAMES = ("anna", "bob", "carl")


def space(origin: float) -> Space:
    empty = Space((), np.zeros((0, 3)), np.full(3, origin), np.zeros((2, 3)), 1.0, "s", "b", "p")
    return empty.with_word("formal", np.array([1.0, 0.0, 0.0]))


OLD, NEW = space(0.0), space(1.0)


def explained(where: Space) -> Explanation:
    plain = sample_explanation()
    return plain.model_copy(update={"digests": plain.digests.model_copy(update={"space": where.digest})})


def setup_of(where: Space) -> PoolSetup:
    return PoolSetup(base="b", summarizer="s", seed=int(where.origin[0]))


ALL_NEW = {sample_record(name).adapter: explained(NEW) for name in NAMES}


def old_pool(folder: Path) -> Path:
    with create_pool(folder, (OLD, setup_of(OLD))) as pool:
        for name in NAMES:
            pool.catalog.add(sample_record(name, explanation=explained(OLD)))
    return folder


def seen(folder: Path) -> Space:
    """The space that a reader takes; setup and every row are of it."""
    with open_pool(folder, read_only=True) as pool:
        found, setup = pool.space, pool.setup
        assert pool.space_and_setup()[1] == setup and setup.seed == int(found.origin[0])
        assert {r.explanation.digests.space for r in pool.list() if r.explanation} == {found.digest}
    return found


def changed(pool: Pool) -> None:
    assert pool.change_space(NEW, setup_of(NEW), ALL_NEW) == []


def kept(folder: Path) -> int:
    """How many spaces lie in the store."""
    return sum((entry / SPACE_FILE).is_file() for entry in (folder / "artifacts").iterdir() if entry.name[0] != ".")


def test_space_and_rows_change_together(scratch: Path) -> None:
    folder = old_pool(scratch / "pool")
    assert seen(folder).digest == OLD.digest
    with open_pool(folder) as pool:
        changed(pool)
        assert pool.orphans() == () and len(spaces_in(pool.artifacts)) == 1
    assert seen(folder).digest == NEW.digest


def test_a_record_without_its_explanation_changes_nothing(scratch: Path) -> None:
    folder = old_pool(scratch / "pool")
    with open_pool(folder) as pool:
        some = {sample_record(name).adapter: explained(NEW) for name in NAMES[:2]}
        assert [record.name for record in pool.change_space(NEW, setup_of(NEW), some)] == ["carl"]
    assert seen(folder).digest == OLD.digest and kept(folder) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_anywhere_it_is_the_old_pool_or_the_new_one(scratch: Path, at_line: Callable[..., int]) -> None:
    with open_pool(old_pool(scratch / "whole")) as pool:
        total = at_line(-1, int, lambda: changed(pool))
    assert total > 50

    def killed(folder: Path, number: int) -> None:
        with open_pool(folder) as pool:
            at_line(number, lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: changed(pool))

    found = []
    for number in range(1, total + 1, 17):
        folder = old_pool(scratch / f"pool-{number}")
        child = multiprocessing.get_context("fork").Process(target=killed, args=(folder, number))
        child.start()
        child.join(30)
        assert child.exitcode == -signal.SIGKILL
        left = seen(folder).digest
        open_pool(folder).close()
        assert seen(folder).digest == left and kept(folder) == 1, number
        found.append(left == NEW.digest)
    assert found == sorted(found) and 0 < sum(found) < total, "once new, it stays new"


def test_a_full_disk_leaves_the_old_pool(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = old_pool(scratch / "pool")

    def refuse(*_: object) -> None:
        raise StorageError("full")

    with open_pool(folder) as pool, monkeypatch.context() as patch:
        patch.setattr("xpert.pool.sql.SqlCatalog.change_space", refuse)
        with pytest.raises(StorageError, match="full"):
            changed(pool)
    assert seen(folder).digest == OLD.digest and kept(folder) == 1
    with open_pool(folder) as pool:
        changed(pool)
    assert seen(folder).digest == NEW.digest


def test_a_pool_that_is_read_only_is_left_alone(scratch: Path) -> None:
    folder = old_pool(scratch / "pool")
    with open_pool(folder, read_only=True) as pool, pytest.raises(PoolError, match="cannot reindex pool"):
        changed(pool)
    assert seen(folder).digest == OLD.digest and kept(folder) == 1


def test_what_was_explained_in_the_space_before_is_not_published(
    base: Path, adapters: list[Path], tmp_path: Path
) -> None:
    folder = old_pool(tmp_path / "pool")
    with open_pool(folder) as pool:
        for name in NAMES:
            pool.catalog.remove(name)
        pool.add(adapters[0], base_folder=base, base_name="b", name="one", explain=lambda _: explained(OLD))

        def slow(_: Path) -> Explanation:
            pool.change_space(NEW, setup_of(NEW), {pool.get("one").adapter: explained(NEW)})
            return explained(OLD)

        with pytest.raises(MismatchError, match=r"its space was rebuilt meanwhile; add 'two' again"):
            pool.add(adapters[1], base_folder=base, base_name="b", name="two", explain=slow)
        pool.add(adapters[1], base_folder=base, base_name="b", name="two", explain=lambda _: explained(NEW))
    assert seen(folder).digest == NEW.digest


def test_a_pool_without_a_space_says_how_it_gets_one(tmp_path: Path) -> None:
    with open_pool(tmp_path / "pool") as pool:
        assert not pool.has_space and pool.space_folder is None
        for read in (lambda: pool.space, lambda: pool.setup, pool.space_and_setup):
            with pytest.raises(PoolError, match=r"has no space yet: run `xpert pool reindex"):
                read()


@pytest.mark.parametrize("name", ["space.safetensors", "setup.json"])
@pytest.mark.parametrize("lost", [True, False], ids=["lost", "changed"])
def test_files_that_are_not_those_that_were_written_are_refused_and_can_be_rebuilt(
    name: str, lost: bool, tmp_path: Path
) -> None:
    folder = old_pool(tmp_path / "pool")
    with open_pool(folder) as pool:
        assert pool.space_folder is not None
        file = pool.space_folder / name
        file.unlink() if lost else file.write_bytes(file.read_bytes() + b" ")
        for read in (lambda: pool.space, lambda: pool.setup):
            with pytest.raises(StorageError, match=r"the pool's space in .* restore them from a copy, or delete"):
                read()
        changed(pool)
    assert seen(folder).digest == NEW.digest and kept(folder) == 1


def test_the_space_is_no_adapter(tmp_path: Path) -> None:
    with create_pool(tmp_path / "pool", (OLD, setup_of(OLD))) as pool:
        assert pool.orphans() == () and pool.list() == [] and pool.has_space
        assert discard(pool, None) == ()
        with pytest.raises(PoolError, match="is not the digest of one adapter"):
            discard(pool, spaces_in(pool.artifacts))
        assert pool.space.digest == OLD.digest


def test_a_reader_takes_the_space_of_one_moment(tmp_path: Path) -> None:
    """Another process changes the space after the reader found where it lies: it is read again."""
    folder = old_pool(tmp_path / "pool")
    with open_pool(folder, read_only=True) as reader, open_pool(folder) as writer:
        places = iter([reader.space_folder, None])

        class Slow(Pool):
            @property
            def space_folder(self) -> Path | None:
                if (place := next(places, None)) is not None:
                    changed(writer)
                    return place
                return writer.space_folder

        found, setup = Slow(reader.catalog, reader.artifacts, folder, True).space_and_setup()
    assert found.digest == NEW.digest and setup == setup_of(NEW)


@pytest.mark.parametrize("state", ["lost", "empty", "damaged", "other"])
def test_a_lost_catalog_brings_the_space_back(state: str, tmp_path: Path) -> None:
    folder = old_pool(tmp_path / "pool")
    with open_pool(folder) as pool:
        for name in NAMES:
            pool.catalog.remove(name)
    catalog = folder / "catalog.sqlite"
    match state:
        case "lost":
            catalog.unlink()
        case "empty":
            catalog.write_bytes(b"")
        case "damaged":
            catalog.write_bytes(catalog.read_bytes()[:5000])
        case "other":
            open_pool(tmp_path / "other").close()
            (tmp_path / "other" / "catalog.sqlite").replace(catalog)
    looked = restore(folder, dry=True)
    done = restore(folder)
    assert looked.space == done.space is not None and done.left == () and done.restored == ()
    assert restore(folder).space is None
    assert seen_empty(folder).digest == OLD.digest


def seen_empty(folder: Path) -> Space:
    with open_pool(folder, read_only=True) as pool:
        return pool.space


def test_of_two_spaces_the_one_of_the_rows_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change was killed after the new space was put, and then the row of the space was damaged."""
    folder = old_pool(tmp_path / "pool")
    with open_pool(folder) as pool, pool.artifacts.lock():
        put_space(pool.artifacts, NEW, setup_of(NEW))
    assert kept(folder) == 2
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as rows, rows:
        rows.execute("UPDATE space SET artifact = NULL")
    with pytest.raises(StorageError, match=r"row of the space cannot be read .*xpert pool restore"):
        seen(folder)
    for name in NAMES:  # rows without files would go
        (folder / "artifacts" / sample_record(name).adapter).mkdir()
    monkeypatch.setattr(ArtifactStore, "verify", lambda *_: True)
    assert restore(folder).catalog == "damaged"
    assert seen(folder).digest == OLD.digest
    open_pool(folder).close()
    assert kept(folder) == 1
