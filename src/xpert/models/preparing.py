"""Who is told while a model is made ready, which may take minutes: set by whoever shows progress, silent else.

Knows a function only. What resolves a name lies deep, so it is not handed through every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Tell = Callable[[str, int, int], None]

_TOLD: ContextVar[Tell | None] = ContextVar("preparing", default=None)


@contextmanager
def preparing(tell: Tell) -> Iterator[None]:
    """In the block, `tell` hears of stages: their name, how much is done, of how much."""
    token = _TOLD.set(tell)
    try:
        yield
    finally:
        _TOLD.reset(token)


def report(stage: str, done: int, total: int) -> None:
    """Tell whoever listens."""
    if (tell := _TOLD.get()) is not None:
        tell(stage, done, total)
