"""The messages of an Arrow stream, by their headers: how much they would take in memory, before any is decoded.

A message is a Flatbuffers table (https://arrow.apache.org/docs/format/Columnar.html) and a body; only bodies that are
compressed can take more than the file has. Knows sizes; decodes no values.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from xpert.data.parquet_pages import too_large
from xpert.errors import DataError

FILE_MARK = b"ARROW1\0\0"
"""What the file format begins with; behind it stands a stream."""

_CONTINUES = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_PAIR = 16  # bytes of a Buffer: where it begins in the body, and its length


def check_messages(stream: BinaryIO, start: int, size: int, limit: int, where: str) -> None:
    """Add up what decoding a stream would take.

    Args:
        stream: of the file.
        start: where the messages begin.
        size: of the file, in bytes.
        limit: bytes that it may take.
        where: the file, for errors.

    Raises:
        DataError: more than the limit, or messages that lie outside of the file.
    """
    total, position = 0, start
    try:
        while (header := _header(stream, position, size)) is not None:
            message, body = _Flat.root(header[0]), header[1]
            length = message.number(3, "<q")
            if length < 0 or body + length > size:
                raise ValueError("a message ends outside of the file")
            total += length
            total += sum(_unpacked(stream, message, body, length))
            if total > limit:
                raise too_large(where, size, limit)
            position = body + length
    except DataError:
        raise
    except (struct.error, ValueError, IndexError) as error:
        raise damaged(where, str(error)) from error


def damaged(where: str, reason: str) -> DataError:
    """The error for a file that is not what it seems."""
    return DataError(f"{where} is not a readable Arrow file ({reason}): download or export it again")


def _header(stream: BinaryIO, position: int, size: int) -> tuple[bytes, int] | None:
    """A message's table and where its body begins; None at the end of the stream."""
    stream.seek(position)
    start = stream.read(8)
    if len(start) < 4:
        return None
    (length,), position = struct.unpack_from("<I", start), position + 4
    if length == _CONTINUES:
        (length,), position = struct.unpack_from("<I", start, 4), position + 4
    if length == 0:
        return None
    if position + length > size:
        raise ValueError("a message ends outside of the file")
    stream.seek(position)
    return stream.read(length), position + length


def _unpacked(stream: BinaryIO, message: _Flat, body: int, length: int) -> Iterator[int]:
    """The bytes of each compressed buffer of a message, as it states them."""
    kind, table = message.number(1, "<B"), message.table(2)
    if kind not in (_SCHEMA, _DICTIONARY, _BATCH) or table is None:
        raise ValueError("a message that is no table of rows")
    batch = table.table(1) if kind == _DICTIONARY else table if kind == _BATCH else None
    if batch is None or batch.table(3) is None:
        return
    for offset, packed in batch.pairs(2):
        if offset < 0 or packed < 0 or offset + packed > length:
            raise ValueError("a buffer lies outside of its message")
        if packed >= 8:
            stream.seek(body + offset)
            (stated,) = struct.unpack("<q", stream.read(8))
            yield max(stated, 0)


class _Flat:
    """A table of Flatbuffers: fields by number, each of which may be left out."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content, self._at = content, at
        back = struct.unpack_from("<i", content, at)[0]
        self._fields = at - back
        if self._fields < 0:
            raise ValueError("a table outside of its message")
        self._count = (struct.unpack_from("<H", content, self._fields)[0] - 4) // 2

    @classmethod
    def root(cls, content: bytes) -> _Flat:
        return cls(content, struct.unpack_from("<I", content)[0])

    def _place(self, number: int) -> int | None:
        if number >= self._count:
            return None
        offset = struct.unpack_from("<H", self._content, self._fields + 4 + 2 * number)[0]
        return self._at + offset if offset else None

    def number(self, number: int, form: str) -> int:
        place = self._place(number)
        return 0 if place is None else int(struct.unpack_from(form, self._content, place)[0])

    def table(self, number: int) -> _Flat | None:
        place = self._place(number)
        return (
            None if place is None else _Flat(self._content, place + struct.unpack_from("<I", self._content, place)[0])
        )

    def pairs(self, number: int) -> Iterator[tuple[int, int]]:
        place = self._place(number)
        if place is None:
            return
        place += struct.unpack_from("<I", self._content, place)[0]
        count = struct.unpack_from("<I", self._content, place)[0]
        if count * _PAIR > len(self._content):
            raise ValueError("more buffers than the message has room for")
        for index in range(count):
            first, second = struct.unpack_from("<qq", self._content, place + 4 + index * _PAIR)
            yield first, second
