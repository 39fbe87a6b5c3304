"""Painted pictures in files: written whole, and told from damaged ones. Knows files only."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from xpert.writing import whole_file


def save_picture(picture: Any, file: Path) -> None:
    """Write a PNG whole or not at all, synced to the disk.

    Raises:
        StorageError: the disk refused.
    """
    with whole_file(file) as fresh:
        picture.save(fresh, format="PNG")


def is_painted(file: Path) -> bool:
    """Whether a PNG is there and every part of it fits its checksum; read once in a process, and where it changed."""
    try:
        facts = file.stat()
    except OSError:
        return False
    return _is_whole(file, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=4096)
def _is_whole(file: Path, _size: int, _time: int) -> bool:
    from PIL import Image

    try:
        with Image.open(file, formats=("PNG",)) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True
