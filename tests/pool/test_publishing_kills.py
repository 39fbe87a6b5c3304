"""Publishing killed at every step: afterwards row and files are both there or neither is visible, and it can go on."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import xpert.pool
from xpert.errors import DuplicateError, StorageError
from xpert.pool import Pool, open_pool

ROOM = str(Path(xpert.pool.__file__).parent)
forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def add(pool: Pool, adapter: Path, base: Path, name: str = "anna") -> None:
    pool.add(adapter, base_folder=base, base_name="tiny", name=name)


def check_whole(folder: Path) -> list[str]:
    """Every visible row has its files, unharmed; returns the names."""
    with open_pool(folder, create=False) as pool:
        records = pool.list()
        assert all(pool.artifacts.verify(record.adapter) for record in records)
        return [record.name for record in records]


def check_goes_on(folder: Path, adapters: list[Path], base: Path) -> None:
    """The same add, unless it had happened, and another one work; orphans can be swept."""
    names = check_whole(folder)
    with open_pool(folder) as pool:
        if "anna" not in names:
            add(pool, adapters[0], base)
        add(pool, adapters[1], base, "bob")
        rows = {record.adapter for record in pool.list()}
        assert rows == set(pool.artifacts.digests())
    assert check_whole(folder) == ["anna", "bob"]


@contextmanager
def at_step(number: int, what: Callable[[], None]) -> Iterator[list[int]]:
    """Do `what` before the line of this number, counted from the lock on, that the room's code runs in this thread."""
    passed = [0]
    locked = False

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal locked
        if not frame.f_code.co_filename.startswith(ROOM):
            return None
        locked = locked or frame.f_code.co_name == "lock"
        if event == "line" and locked:
            passed[0] += 1
            if passed[0] == number:
                what()
        return trace

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        yield passed
    finally:
        sys.settrace(old)


def interrupt() -> None:
    raise KeyboardInterrupt


def steps_of(action: Callable[[], object]) -> int:
    with at_step(-1, interrupt) as passed:
        action()
    return passed[0]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("failure", "met"),
    [(OSError(errno.ENOSPC, "No space left on device"), StorageError), (KeyboardInterrupt(), KeyboardInterrupt)],
    ids=["full", "interrupt"],
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_every_call_to_the_disk_fails_once(
    base: Path,
    adapters: list[Path],
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    failure: BaseException,
    met: type[BaseException],
    after: bool,
) -> None:
    total = 0
    real = getattr(os, call)

    def fail_at(number: int) -> Callable[..., None]:
        def failing(*arguments: Any) -> None:
            nonlocal total
            total += 1
            if total == number and not after:
                raise failure
            real(*arguments)
            if total == number and after:
                raise failure

        return failing

    number = 0
    while total >= number:
        number, total = number + 1, 0
        folder = scratch / f"pool-{number}"
        with open_pool(folder) as pool, monkeypatch.context() as patch:
            patch.setattr(os, call, fail_at(number))
            try:
                add(pool, adapters[0], base)
            except met:
                assert pool.list() == []
                assert [e.name for e in pool.artifacts.folder.iterdir() if e.name != ".lock"] == []
        check_goes_on(folder, adapters, base)
    assert total == {"fsync": 5, "replace": 1}[call]


PARTS = 4
"""A test takes every fourth line, so that none takes long; together they take all."""


@pytest.mark.parametrize("part", range(PARTS))
def test_interrupt_at_every_line(base: Path, adapters: list[Path], scratch: Path, part: int) -> None:
    with open_pool(scratch / "whole") as pool:
        total = steps_of(lambda: add(pool, adapters[0], base))
    assert total > 80
    for number in range(1 + part, total + 1, PARTS):
        folder = scratch / f"pool-{number}"
        with open_pool(folder) as pool:
            with pytest.raises(KeyboardInterrupt), at_step(number, interrupt):
                add(pool, adapters[0], base)
            if not pool.list():
                add(pool, adapters[0], base)
        assert check_whole(folder) == ["anna"]


@pytest.mark.parametrize("part", range(PARTS))
def test_interrupt_at_every_line_of_removing(base: Path, adapters: list[Path], scratch: Path, part: int) -> None:
    with open_pool(scratch / "pool") as pool:
        add(pool, adapters[0], base)
        total = steps_of(lambda: pool.remove("anna"))
        for number in range(1 + part, total + 1, PARTS):
            if not pool.list():
                add(pool, adapters[0], base)
            with pytest.raises(KeyboardInterrupt), at_step(number, interrupt):
                pool.remove("anna")
            assert check_whole(scratch / "pool") in ([], ["anna"])


def in_child(action: Callable[[], None]) -> int:
    """Run in a forked process; its exit code, negative for a signal."""
    child = multiprocessing.get_context("fork").Process(target=action)
    child.start()
    child.join(30)
    assert child.exitcode is not None
    return child.exitcode


@forking
@pytest.mark.parametrize("part", range(PARTS))
def test_kill_without_mercy(base: Path, adapters: list[Path], scratch: Path, part: int) -> None:
    with open_pool(scratch / "whole") as pool:
        total = steps_of(lambda: add(pool, adapters[0], base))

    def killed(folder: Path, number: int) -> None:
        with open_pool(folder) as pool, at_step(number, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            add(pool, adapters[0], base)

    for number in range(1 + 2 * part, total + 1, 2 * PARTS):
        folder = scratch / f"pool-{number}"
        open_pool(folder).close()
        assert in_child(partial(killed, folder, number)) == -signal.SIGKILL
        check_goes_on(folder, adapters, base)


@forking
def test_two_processes_add_at_once(base: Path, adapters: list[Path], scratch: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    results = context.Queue()

    def worker(adapter: Path, name: str) -> None:
        start.wait(20)
        with open_pool(scratch / "pool") as pool:  # made by whoever comes first
            try:
                add(pool, adapter, base, name)
                results.put((name, "added"))
            except DuplicateError:
                results.put((name, "refused"))

    wanted = [(adapters[0], "anna"), (adapters[1], "bob"), (adapters[2], "ANNA"), (adapters[1], "carl")]
    workers = [context.Process(target=worker, args=pair) for pair in wanted]
    for process in workers:
        process.start()
    outcome = dict(results.get(timeout=30) for _ in workers)
    for process in workers:
        process.join(30)
    assert sorted(outcome.values()) == ["added", "added", "refused", "refused"]
    assert check_whole(scratch / "pool") == sorted(name for name, result in outcome.items() if result == "added")
    with open_pool(scratch / "pool") as pool:
        assert len(pool.artifacts.digests()) == 2
