"""Who is told while a model is made ready, which may take minutes: set by whoever shows progress, silent else.

Knows functions only. What resolves a name lies deep, so the function is not handed through every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

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


@contextmanager
def bar_of_gguf(stage: str, tensors: int) -> Iterator[None]:
    """In the block, the bar of transformers' reader of GGUF reports here; where it has none, only the end is told."""
    from transformers import modeling_gguf_pytorch_utils

    reader: Any = modeling_gguf_pytorch_utils

    def bar(values: Iterable[Any], **_: object) -> Iterator[Any]:
        for done, value in enumerate(values):
            report(stage, done, tensors)
            yield value

    before = getattr(reader, "tqdm", None)
    report(stage, 0, tensors)
    if before is not None:
        reader.tqdm = bar
    try:
        yield
    finally:
        if before is not None:
            reader.tqdm = before
    report(stage, tensors, tensors)
