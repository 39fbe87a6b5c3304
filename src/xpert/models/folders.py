"""A folder that appears whole or not at all. Knows files only."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xpert.errors import SettingsError
from xpert.writing import disk_refusals, name_aside, sweep, sync_to_disk


def check_free(out: Path) -> None:
    """See that `out` may be written: missing, or an empty folder.

    Raises:
        SettingsError: it is neither.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SettingsError(f"{out} exists already and is not empty: give another folder, or remove it")


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """An empty folder beside `out`; at the end of the block it is synced to the disk and renamed to `out`.

    Where the block raises, nothing is left of it, nor of folders that were made above it. Ctrl-C waits while the
    folder is renamed. Of two programs that write the same `out`, the first to end has it, whole.

    Raises:
        SettingsError: `out` is taken, or was taken meanwhile.
        StorageError: the disk refused.
    """
    check_free(out)
    above = [folder for folder in out.parents if not folder.exists()]
    fresh = name_aside(out, "new")
    try:
        with disk_refusals(out):
            sweep(out.parent)
            fresh.mkdir(parents=True)
            yield fresh
            for path in (*sorted(fresh.rglob("*"), reverse=True), fresh):
                sync_to_disk(path)
            with no_interrupt():
                check_free(out)
                _reveal(fresh, out)
                sync_to_disk(out.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        for folder in above:
            with suppress(OSError):  # it holds something: what was written, or another program's
                folder.rmdir()


def _reveal(fresh: Path, out: Path) -> None:
    """Rename onto a place that is free; where another program was faster by an instant, its folder stays."""
    try:
        with suppress(FileNotFoundError):
            out.rmdir()  # an empty one, onto which Windows renames nothing
        os.replace(fresh, out)
    except OSError:
        check_free(out)
        raise


@contextmanager
def no_interrupt() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block, so that what is done in it is done whole."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python interrupts the main thread only.
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        if held:
            signal.raise_signal(signal.SIGINT)
