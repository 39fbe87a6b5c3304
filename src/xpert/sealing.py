"""A file that shows when a byte of it changed: it holds the SHA-256 of itself. Knows bytes only.

The file is safetensors or JSON text and has a field `"seal": "<64 hexadecimal digits>"`, of safetensors in the metadata
of its header. The digits are the SHA-256 of the whole file with 64 zeros in their place, so that every language can
write and compare it. A file without that field is one of before there were seals, and is read as it is.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

KEY = "seal"
OPEN = "0" * 64
"""What stands in the field until `seal` puts the digest there."""

_FIELD = re.compile(rb'"seal" ?: ?"([0-9a-f]{64})"')
_NAMED = re.compile(rb'"seal" ?:')
_PIECE_BYTES = 2**20


def seal(file: Path) -> None:
    """Put the digest into a file that holds the field with `OPEN`; before it is renamed to where it is read.

    Raises:
        ValueError: it does not hold just one such field.
        OSError: the disk refused.
    """
    place = _place(file)
    if place is None:
        raise ValueError(f"{file} has no field for its seal")
    digest = _digest(file, place)
    with file.open("r+b") as stream:
        stream.seek(place)
        stream.write(digest.encode())
        stream.flush()
        os.fsync(stream.fileno())


def is_whole(file: Path) -> bool:
    """False where a file is another than was sealed; True also where it has no seal.

    Raises:
        OSError: it cannot be read.
    """
    try:
        place = _place(file)
    except ValueError:
        return False
    if place is None:
        return True
    with file.open("rb") as stream:
        stream.seek(place)
        stated = stream.read(64).decode("ascii", "replace")
    return stated == _digest(file, place)


def _place(file: Path) -> int | None:
    """Where the digits begin; None where there is no such field.

    Raises:
        ValueError: there is more than one, or one that holds no digest.
    """
    head, start = _head(file)
    found = list(_FIELD.finditer(head))
    if len(_NAMED.findall(head)) != len(found) or len(found) > 1:
        raise ValueError(f"{file} has a seal that cannot be read")
    return start + found[0].start(1) if found else None


def _head(file: Path) -> tuple[bytes, int]:
    """The part of a file that holds the field, and where that part begins."""
    with file.open("rb") as stream:
        first = stream.read(8)
        if first[:1] == b"{":  # the length of a header of safetensors is a multiple of 8, and never begins so
            return first + stream.read(), 0
        return stream.read(min(int.from_bytes(first, "little"), file.stat().st_size)), 8


def _digest(file: Path, place: int) -> str:
    """SHA-256 of a file with zeros at `place`; read in pieces."""
    content, done = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            begin, end = max(place - done, 0), min(place + 64 - done, len(piece))
            if begin < end:
                piece = piece[:begin] + b"0" * (end - begin) + piece[end:]
            content.update(piece)
            done += len(piece)
    return content.hexdigest()
