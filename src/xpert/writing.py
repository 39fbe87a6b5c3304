"""A file that appears whole or not at all: written aside, synced to the disk, renamed. Knows files only.

Names aside are drawn at random, so that two programs that write the same place never write into each other's; what a
killed one leaves is swept by the next, by its age.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from xpert.errors import StorageError

STALE_S = 3600.0
"""Age after which what lies aside is taken for the rest of a killed process."""

_ASIDE = re.compile(r"\..+\.xpert-[0-9a-f]{8}\.(?:new|old|part)")


@contextmanager
def whole_file(file: Path, *, private: bool = False) -> Iterator[Path]:
    """A name beside `file`; what the block writes there is synced and renamed to `file`, whose folder is made.

    A reader sees the old file or the new one. Where the block raises, the old one stays and nothing else is left.

    Args:
        file: what appears.
        private: only the user may read it, from its first byte on.

    Raises:
        StorageError: the disk refused.
    """
    with disk_refusals(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        sweep(file.parent)
        fresh = name_aside(file, "part")
        try:
            if private:
                os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            yield fresh
            sync_to_disk(fresh)
            os.replace(fresh, file)
            sync_to_disk(file.parent)
        finally:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)


def private_folder(folder: Path) -> None:
    """Make a folder, where it is missing, that only the user may look into; one that is there becomes so.

    Raises:
        StorageError: the disk refused.
    """
    with disk_refusals(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.name != "nt":
            folder.chmod(0o700)


@contextmanager
def disk_refusals(place: Path) -> Iterator[None]:
    """Tell what a disk refuses in the block, also to safetensors, as one kind of error.

    Raises:
        StorageError: names the place, the reason and the way out.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, SafetensorError) and not str(error).startswith("Error while serializing"):
            raise  # of a file that was read
        reason = getattr(error, "strerror", None) or error
        raise StorageError(
            f"{place} cannot be written ({reason}): free space on its disk, check your rights, or give another place"
        ) from error


def name_aside(place: Path, kind: str) -> Path:
    """A name beside `place` that nobody else has: hidden, of `place`'s own name, eight digits and `kind`."""
    return place.with_name(f".{place.name}.xpert-{secrets.token_hex(4)}.{kind}")


def is_aside(path: Path) -> bool:
    """Whether a name is one that `name_aside` gives."""
    return _ASIDE.fullmatch(path.name) is not None


def sweep(folder: Path) -> None:
    """Remove names aside that killed processes left in a folder; what somebody may still write to stays."""
    with suppress(OSError):
        for entry in [entry for entry in folder.iterdir() if is_aside(entry)]:
            if age_s(entry) <= STALE_S:
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def age_s(place: Path) -> float:
    """Seconds since a file, or anything in a folder, was written; 0 when it vanishes meanwhile."""
    try:
        return time.time() - max(entry.stat().st_mtime for entry in (place, *place.rglob("*")))
    except OSError:
        return 0.0


def sync_to_disk(path: Path) -> None:
    """fsync of a file or of a folder's entries; Windows syncs no folders, and files only where they may be written."""
    if os.name == "nt":
        if path.is_dir():
            return
        handle = os.open(path, os.O_RDWR)
    else:
        handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
