"""A tiny base and adapters of it, made once; a place for many writes."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import xpert.pool
from xpert.models.adapters import check_fit, inspect_adapter
from xpert.testing.tiny import tiny_adapter, tiny_base


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("pool-models") / "base")


@pytest.fixture(scope="session")
def adapters(base: Path) -> list[Path]:
    """Three adapters of the base, to be read only."""
    made = [tiny_adapter(base, base.parent / f"adapter-{seed}", seed=seed) for seed in range(3)]
    check_fit(inspect_adapter(made[0]), base)  # builds the base's shapes once, also for forked children
    return made


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A temporary folder in memory where the system has one: hundreds of synced writes would wait for a disk."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK)):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def at_line() -> Callable[[int, Callable[[], None], Callable[[], object]], int]:
    """Do something before a line of the code of pools; see `_at_line`."""
    return _at_line


def _at_line(number: int, what: Callable[[], None], action: Callable[[], object]) -> int:
    """Do `what` before a line, by its number, that the room's code runs; how many lines were run."""
    passed = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal passed
        if Path(frame.f_code.co_filename).parent != Path(xpert.pool.__file__).parent:
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
