"""Pools whose space lies in files of its own are read as they are, and migrated when they are written to."""

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

from xpert.errors import PoolError, SpaceError, StorageError
from xpert.pool import open_pool
from xpert.pool.creating import create_pool, is_unfinished
from xpert.pool.restoring import restore
from xpert.pool.setup import SETUP_FILE, SPACE_FILE, PoolSetup, write_setup
from xpert.records import Explanation
from xpert.space.basis import Space
from xpert.space.storing import save_space
from xpert.testing.catalogs import sample_explanation, sample_record

LAYOUTS = {
    1: ("DROP TABLE space", "DROP TABLE checksums", "PRAGMA user_version = 1"),
    2: ("DROP TABLE space", "PRAGMA user_version = 2"),
}
NAMES = ("anna", "bob")


def space(origin: float) -> Space:
    empty = Space((), np.zeros((0, 3)), np.full(3, origin), np.zeros((2, 3)), 1.0, "s", "b" * 64, "p")
    return empty.with_word("formal", np.array([1.0, 0.0, 0.0]))


OLD, NEW = space(0.0), space(1.0)


def explained(where: Space) -> Explanation:
    plain = sample_explanation()
    return plain.model_copy(update={"digests": plain.digests.model_copy(update={"space": where.digest})})


def lay(place: Path, where: Space) -> None:
    save_space(where, place / SPACE_FILE)
    write_setup(place, PoolSetup(base="b", summarizer="s", seed=int(where.origin[0])))


def old_pool(folder: Path, layout: int, rows: Space, space: Space | None, beside: Space | None) -> Path:
    """As an older version wrote it."""
    with open_pool(folder) as pool:
        for name in NAMES:
            pool.catalog.add(sample_record(name, explanation=explained(rows)))
    with closing(sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)) as catalog:
        for statement in LAYOUTS[layout]:
            catalog.execute(statement)
    for place, where in ((folder / "space", space), (folder / "next" / "space", beside)):
        if where is not None:
            lay(place, where)
    return folder


def seen(folder: Path) -> Space:
    """The space that a reader takes; setup and every row are of it."""
    with open_pool(folder, read_only=True) as pool:
        found, setup = pool.space_and_setup()
        assert pool.has_space and setup.seed == int(found.origin[0])
        assert {r.explanation.digests.space for r in pool.list() if r.explanation} == {found.digest}
        assert [record.name for record in pool.list()] == sorted(NAMES)
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


STATES: dict[str, tuple[Space, Space | None, Space | None]] = {
    "before a change": (OLD, OLD, None),
    "laid beside": (OLD, OLD, NEW),
    "rows changed": (NEW, OLD, NEW),
    "files in place": (NEW, NEW, NEW),
    "rows of the first space": (NEW, None, NEW),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("state", STATES)
def test_an_old_pool_is_read_as_it_is_and_migrated_when_it_is_written_to(
    layout: int, state: str, tmp_path: Path
) -> None:
    rows, inside, beside = STATES[state]
    folder = old_pool(tmp_path / "pool", layout, rows, inside, beside)
    (folder / "space").mkdir(exist_ok=True)
    (folder / "space" / "notes.txt").write_text("mine")
    before = files(folder)
    assert seen(folder).digest == rows.digest
    assert files(folder) == before, "reading changes nothing"
    open_pool(folder).close()
    assert seen(folder).digest == rows.digest
    after = files(folder)
    assert after["space/notes.txt"] == b"mine" and not (folder / "next").exists()
    held = {name for name in after if name.endswith((SPACE_FILE, SETUP_FILE))}
    assert len(held) == 2 and all(name.startswith("artifacts/") for name in held)
    source = "next/space" if rows is NEW else "space"
    assert {after[name] for name in held} == {before[f"{source}/{SPACE_FILE}"], before[f"{source}/{SETUP_FILE}"]}
    open_pool(folder).close()
    assert files(folder) == after


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("state", ["laid beside", "rows changed"])
def test_a_migration_that_is_killed_anywhere_is_read_and_goes_on(
    state: str, scratch: Path, at_line: Callable[..., int]
) -> None:
    rows, inside, beside = STATES[state]
    whole = old_pool(scratch / "whole", 2, rows, inside, beside)
    total = at_line(-1, int, lambda: open_pool(whole).close())
    assert total > 50

    def killed(folder: Path, number: int) -> None:
        at_line(number, lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: open_pool(folder).close())

    for number in range(1, total + 1, 11):
        folder = old_pool(scratch / f"pool-{number}", 2, rows, inside, beside)
        child = multiprocessing.get_context("fork").Process(target=killed, args=(folder, number))
        child.start()
        child.join(30)
        assert child.exitcode == -signal.SIGKILL
        assert seen(folder).digest == rows.digest, number
        open_pool(folder).close()
        assert seen(folder).digest == rows.digest
        assert not (folder / "space").exists() and not (folder / "next").exists(), number


def test_a_reader_goes_on_while_another_process_migrates(tmp_path: Path) -> None:
    folder = old_pool(tmp_path / "pool", 2, OLD, OLD, None)
    with open_pool(folder, read_only=True) as reader:
        assert reader.space.digest == OLD.digest
        open_pool(folder).close()
        assert reader.space.digest == OLD.digest and reader.setup.seed == 0 and len(reader.list()) == 2


@pytest.mark.parametrize("name", [SPACE_FILE, SETUP_FILE])
def test_damaged_files_are_told_of_before_and_after(name: str, tmp_path: Path) -> None:
    folder = old_pool(tmp_path / "pool", 2, OLD, OLD, None)
    (folder / "space" / name).write_bytes(b"{")
    for read_only in (True, False, True):
        with open_pool(folder, read_only=read_only) as pool, pytest.raises((PoolError, SpaceError), match="rebuild it"):
            pool.space_and_setup()


def test_a_full_disk_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = old_pool(tmp_path / "pool", 2, OLD, OLD, None)

    def refuse(*_: object, **__: object) -> None:
        raise StorageError("full")

    for broken in ("xpert.pool.artifacts.ArtifactStore.put", "xpert.pool.sql.SqlCatalog.change_space"):
        with monkeypatch.context() as patch, pytest.raises(StorageError, match="full"):
            patch.setattr(broken, refuse)
            open_pool(folder)
        assert seen(folder).digest == OLD.digest
    open_pool(folder).close()
    assert seen(folder).digest == OLD.digest and not (folder / "space").exists()


def test_a_lost_catalog_of_an_old_pool_keeps_the_space(tmp_path: Path) -> None:
    folder = old_pool(tmp_path / "pool", 2, OLD, OLD, None)
    (folder / "catalog.sqlite").unlink()
    restore(folder)
    for _ in range(2):
        with open_pool(folder, read_only=True) as pool:
            assert pool.space.digest == OLD.digest
        open_pool(folder).close()


def test_what_a_killed_creation_of_an_older_version_left_is_no_space_of_the_new_pool(tmp_path: Path) -> None:
    lay(tmp_path / "pool" / "space", OLD)
    assert is_unfinished(tmp_path / "pool")
    with create_pool(tmp_path / "pool") as pool:
        assert not pool.has_space and not (tmp_path / "pool" / "space").exists()
