"""A folder that appears whole or not at all. Knows files only."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xpert.errors import SettingsError, StorageError


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
    folder is renamed.

    Raises:
        SettingsError: `out` is taken.
        StorageError: the disk refused.
    """
    check_free(out)
    fresh = out.with_name(f".{out.name}.new")
    above = [folder for folder in out.parents if not folder.exists()]
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(parents=True)
        yield fresh
        for path in (*sorted(fresh.rglob("*"), reverse=True), fresh):
            sync_to_disk(path)
        with no_interrupt():
            check_free(out)
            if out.exists():
                out.rmdir()
            os.replace(fresh, out)
            sync_to_disk(out.parent)
    except OSError as error:
        raise StorageError(
            f"{out} cannot be written ({error.strerror or error}): free space, or give another folder"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        for folder in above:
            with suppress(OSError):  # it holds something: what was written, or another program's
                folder.rmdir()


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


def sync_to_disk(path: Path) -> None:
    """fsync of a file, or of a folder's entries where the system can."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
