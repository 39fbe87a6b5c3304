"""Ctrl-C during tuning: what was done is on the disk, and the text says how to resume. Knows folder names only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Interrupted(Exception):  # noqa: N818
    """Ctrl-C, with a text for people. No KeyboardInterrupt, whose text Typer drops on the way up."""


@contextmanager
def resumable(out: Path) -> Iterator[None]:
    """Turn an interrupt of the run that writes `out` into one that says how to resume."""
    try:
        yield
    except KeyboardInterrupt as error:
        partial = out.with_name(f"{out.name}.partial")
        if partial.exists():
            text = f"the finished steps are kept in {partial}; run the same command again to resume"
        else:
            text = "nothing was written; run the same command again"
        raise Interrupted(text) from error
