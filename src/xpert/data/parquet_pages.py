"""The pages of a Parquet file, by their headers: how much they would take in memory, before any is decoded.

A footer may state any size; what decoding allocates follows from the header of each page, which is a struct of Thrift's
compact protocol (https://github.com/apache/parquet-format, `PageHeader`). Knows sizes; decodes no values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO

from xpert.errors import DataError

VALUE_BYTES = 8
"""What an entry of a list takes at least, where the file itself may hold a thousand of them in a byte."""

_WINDOW = 1 << 13
_LARGEST_HEADER = 1 << 24  # what Arrow reads at most
_OLD_PADDING = 100  # old writers state chunks too short by at most that; Arrow reads on
_DEEPEST = 8
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_DELTA_BYTE_ARRAY = 7

Struct = dict[int, Any]


class _TooShortError(Exception):
    """The window ends before the header does."""


@dataclass
class Pages:
    """What the headers of all pages say.

    Attributes:
        total: bytes that they take when decompressed, and their entries where a row has many.
        shared: the largest page whose values may share their bytes, as DELTA_BYTE_ARRAY has them: so much one value of
            such a column may take.
        sharing: numbers of those columns.
    """

    total: int = 0
    shared: int = 0
    sharing: set[int] = field(default_factory=set)


def check_pages(stream: BinaryIO, size: int, metadata: Any, limit: int, where: str) -> Pages:
    """Add up what decoding a file would take.

    Args:
        stream: of the file.
        size: of the file, in bytes.
        metadata: `pyarrow.parquet.FileMetaData` of it.
        limit: bytes that it may take.
        where: the file, for errors.

    Raises:
        DataError: more than the limit, or pages that contradict the footer.
    """
    found = Pages()
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for index in range(row_group.num_columns):
            _check_chunk(stream, size, row_group, metadata.schema.column(index), index, limit, where, found)
    return found


def _check_chunk(
    stream: BinaryIO, size: int, row_group: Any, column: Any, index: int, limit: int, where: str, found: Pages
) -> None:
    chunk, repeated = row_group.column(index), column.max_repetition_level > 0
    entry = max(VALUE_BYTES, column.length) if repeated else 0
    position, end = _extent(chunk, size, where)
    seen = largest = 0
    while seen < chunk.num_values and position < end:
        header, position = _page_header(stream, position, size, where)
        values, compressed, uncompressed = _page_sizes(header, where)
        position += compressed
        seen += values if header[1] != _DICTIONARY else 0
        largest = max(largest, uncompressed)
        found.total += uncompressed + values * entry
        if found.total > limit:
            raise too_large(where, size, limit)
        if _encoding(header) == _DELTA_BYTE_ARRAY:
            found.sharing.add(index)
    if index in found.sharing:
        found.shared = max(found.shared, largest)
        if repeated and seen * largest > limit:
            raise too_large(where, size, limit)
    if not repeated and seen > row_group.num_rows:
        raise damaged(where, "a column holds more values than there are rows")


def too_large(where: str, size: int, limit: int) -> DataError:
    """The error for a file that would take more than its limit."""
    return DataError(
        f"{where} holds more than {limit} bytes when decompressed, the most that is read from a file of {size} bytes: "
        "split it into smaller files in one folder, or export it as .jsonl"
    )


def damaged(where: str, reason: str) -> DataError:
    """The error for a file that is not what it seems."""
    return DataError(f"{where} is not a readable Parquet file ({reason}): download or export it again")


def _extent(chunk: Any, size: int, where: str) -> tuple[int, int]:
    """First byte of a column chunk and the end of what Arrow may read of it."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
        first = chunk.dictionary_page_offset
        start = first if 0 < first < start else start
    length = chunk.total_compressed_size
    if start < 0 or length < 0 or start + length > size or chunk.num_values < 0:
        raise damaged(where, "a column lies outside of the file")
    return start, min(start + length + _OLD_PADDING, size)


def _page_sizes(header: Struct, where: str) -> tuple[int, int, int]:
    """Values in a page, and its bytes in the file and decompressed."""
    inner = next((header[field] for field in (5, 7, 8) if isinstance(header.get(field), dict)), {})
    sizes = inner.get(1, 0), header.get(3), header.get(2)
    if not all(isinstance(one, int) and one >= 0 for one in (*sizes, header.get(1))):
        raise damaged(where, "a page without its sizes")
    return sizes  # type: ignore[return-value]  # checked above


def _encoding(header: Struct) -> object:
    kind = header[1]
    inner = header.get(5 if kind == _DATA else 8 if kind == _DATA_V2 else 7)
    return inner.get(4 if kind == _DATA_V2 else 2) if isinstance(inner, dict) else None


def _page_header(stream: BinaryIO, position: int, size: int, where: str) -> tuple[Struct, int]:
    """The header at a place of the file, and where the page itself begins."""
    window = _WINDOW
    while True:
        stream.seek(position)
        content = stream.read(min(window, size - position))
        try:
            header, used = _struct(content, 0, 0)
            return header, position + used
        except _TooShortError:
            if window >= min(_LARGEST_HEADER, size - position):
                raise damaged(where, "a page ends before its header does") from None
            window *= 8
        except ValueError as error:
            raise damaged(where, f"the header of a page: {error}") from None


def _struct(content: bytes, at: int, depth: int) -> tuple[Struct, int]:
    """A struct of Thrift's compact protocol as {number of the field: value}; texts and lists are passed over."""
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    fields: Struct = {}
    number = 0
    while True:
        head, at = _byte(content, at)
        kind = head & 15
        if kind == 0:
            return fields, at
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(content, at)
        if number in fields:
            raise ValueError("a field stands there twice")
        fields[number], at = _value(content, at, kind, depth)


def _value(content: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2):  # of a struct's field, truth is its kind
        return kind == 1, at
    if kind == 3:
        return _byte(content, at)
    if kind in (4, 5, 6):
        return _integer(content, at)
    if kind == 7:
        return None, _skip(content, at, 8)
    if kind == 8:
        length, at = _natural(content, at)
        return None, _skip(content, at, length)
    if kind == 12:
        return _struct(content, at, depth + 1)
    raise ValueError(f"a value of kind {kind}")  # no page header has lists or maps


def _byte(content: bytes, at: int) -> tuple[int, int]:
    if at >= len(content):
        raise _TooShortError
    return content[at], at + 1


def _skip(content: bytes, at: int, count: int) -> int:
    if count > len(content) - at:
        raise _TooShortError
    return at + count


def _natural(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = _byte(content, at)
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number that is too long")


def _integer(content: bytes, at: int) -> tuple[int, int]:
    value, at = _natural(content, at)
    return (value >> 1) ^ -(value & 1), at
