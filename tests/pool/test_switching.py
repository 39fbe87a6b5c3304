"""A pool whose space is changed is, at every kill, the old pool or the new one; never rows of one in the other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import xpert.pool
from xpert.errors import MismatchError, PoolError, StorageError
from xpert.pool import Pool, open_pool
from xpert.pool.setup import SPACE_FILE, PoolSetup, read_setup, write_setup
from xpert.pool.switching import NEXT, current, switch
from xpert.records import Explanation
from xpert.space.basis import Space
from xpert.space.storing import load_space, save_space
from xpert.testing.catalogs import sample_explanation, sample_record

ROOM = Path(xpert.pool.__file__).parent
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
    with open_pool(folder) as pool:
        for name in NAMES:
            pool.catalog.add(sample_record(name, explanation=explained(OLD)))
    write_setup(folder, setup_of(OLD))
    save_space(OLD, folder / SPACE_FILE)
    return folder


def seen(folder: Path) -> Space:
    """The space that a reader takes; setup and every row are of it."""
    found = load_space(current(folder) / SPACE_FILE)
    assert read_setup(folder).seed == int(found.origin[0])
    with open_pool(folder, read_only=True) as pool:
        assert {r.explanation.digests.space for r in pool.list() if r.explanation} == {found.digest}
    return found


def at_line(number: int, what: Callable[[], None], action: Callable[[], object]) -> int:
    """Do `what` before a line, by its number, that the room's code runs; how many lines were run."""
    passed = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal passed
        if Path(frame.f_code.co_filename).parent != ROOM:
            return None
        if event == "line":
            passed += 1
            if passed == number:
                what()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return passed


def switched(pool: Pool) -> None:
    assert switch(pool, NEW, setup_of(NEW), ALL_NEW) == []


def test_space_and_rows_change_together(scratch: Path) -> None:
    folder = old_pool(scratch / "pool")
    assert seen(folder).digest == OLD.digest
    with open_pool(folder) as pool:
        switched(pool)
    assert seen(folder).digest == NEW.digest
    assert load_space(folder / SPACE_FILE).digest == NEW.digest
    assert not (folder / NEXT).exists()


def test_a_record_without_its_explanation_changes_nothing(scratch: Path) -> None:
    folder = old_pool(scratch / "pool")
    with open_pool(folder) as pool:
        some = {sample_record(name).adapter: explained(NEW) for name in NAMES[:2]}
        assert [record.name for record in switch(pool, NEW, setup_of(NEW), some)] == ["carl"]
    assert seen(folder).digest == OLD.digest and not (folder / NEXT).exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_anywhere_it_is_the_old_pool_or_the_new_one(scratch: Path) -> None:
    with open_pool(old_pool(scratch / "whole")) as pool:
        total = at_line(-1, int, lambda: switched(pool))
    assert total > 50

    def killed(folder: Path, number: int) -> None:
        with open_pool(folder) as pool:
            at_line(number, lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: switched(pool))

    found = []
    for number in range(1, total + 1, 3):
        folder = old_pool(scratch / f"pool-{number}")
        child = multiprocessing.get_context("fork").Process(target=killed, args=(folder, number))
        child.start()
        child.join(30)
        assert child.exitcode == -signal.SIGKILL
        left = seen(folder).digest
        open_pool(folder).close()
        assert seen(folder).digest == left and not (folder / NEXT).exists(), number
        found.append(left == NEW.digest)
    assert found == sorted(found) and 0 < sum(found) < total, "once new, it stays new"


def test_a_full_disk_leaves_the_old_pool(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = old_pool(scratch / "pool")

    def refuse(*_: object) -> None:
        raise StorageError("full")

    with open_pool(folder) as pool, monkeypatch.context() as patch:
        patch.setattr("xpert.pool.sql.SqlCatalog.explain_all", refuse)
        with pytest.raises(StorageError, match="full"):
            switched(pool)
    assert seen(folder).digest == OLD.digest
    with open_pool(folder) as pool:
        assert not (folder / NEXT).exists()
        switched(pool)
    assert seen(folder).digest == NEW.digest


def test_a_pool_that_is_read_only_is_left_alone(scratch: Path) -> None:
    folder = old_pool(scratch / "pool")
    with open_pool(folder, read_only=True) as pool, pytest.raises((PoolError, StorageError)):
        switched(pool)
    assert seen(folder).digest == OLD.digest and not (folder / NEXT).exists()


def test_what_was_explained_in_the_space_before_is_not_published(
    base: Path, adapters: list[Path], tmp_path: Path
) -> None:
    folder = old_pool(tmp_path / "pool")
    with open_pool(folder) as pool:
        for name in NAMES:
            pool.catalog.remove(name)
        pool.add(adapters[0], base_folder=base, base_name="b", name="one", explain=lambda _: explained(OLD))

        def slow(_: Path) -> Explanation:
            switch(pool, NEW, setup_of(NEW), {pool.get("one").adapter: explained(NEW)})
            return explained(OLD)

        with pytest.raises(MismatchError, match=r"its space was rebuilt meanwhile; add 'two' again"):
            pool.add(adapters[1], base_folder=base, base_name="b", name="two", explain=slow)
        pool.add(adapters[1], base_folder=base, base_name="b", name="two", explain=lambda _: explained(NEW))
    assert seen(folder).digest == NEW.digest
