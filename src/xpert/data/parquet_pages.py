"""How much a Parquet file would take in memory, by its footer and the headers of its pages, before any is decoded.

A footer may state any size; what decoding allocates follows from the header of each page. Both are read here and not by
pyarrow, which ends the process over some damaged footers. Format: https://github.com/apache/parquet-format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

from xpert.data.thrift import I64, Struct, TooShortError, read_struct
from xpert.errors import DataError

_MARK = b"PAR1"
_LARGEST_FOOTER = 16 * 2**20
_DEEPEST = 64
_ENTRY_BYTES = 8
"""What an entry of a list takes at least, where the file itself may hold a thousand of them in a byte."""

_WIDEST_BYTES = 2**20
_WINDOW = 1 << 13
_LARGEST_HEADER = 1 << 24  # what Arrow reads at most
_OLD_PADDING = 100  # old writers state chunks too short by at most that; Arrow reads on
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_PAGES = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
_REPEATED = 2
_DELTA_BYTE_ARRAY = 7


@dataclass
class Pages:
    """What the headers of all pages say.

    Attributes:
        rows: of the whole file.
        width: bytes of the widest value of a fixed width.
        total: bytes that the pages take when decompressed, and their entries where a row has many.
        shared: the largest page whose values may share their bytes, as DELTA_BYTE_ARRAY has them: so much one value of
            such a column may take.
        sharing: numbers of those columns.
    """

    rows: int = 0
    width: int = 0
    total: int = 0
    shared: int = 0
    sharing: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class _Leaf:
    repeated: bool
    width: int


def check_pages(stream: BinaryIO, size: int, limit: int, row_bytes: int, where: str) -> Pages:
    """Add up what decoding a file would take.

    Args:
        stream: of the file.
        size: of the file, in bytes.
        limit: bytes that it may take.
        row_bytes: what a row takes at least.
        where: the file, for errors.

    Raises:
        DataError: more than the limit, or what is no Parquet file.
    """
    found = Pages()
    try:
        footer = _footer(stream, size)
        leaves = _leaves(footer.structs(2))
        for group in footer.structs(4):
            columns, rows = group.structs(1), _natural(group.number(3, I64))
            if len(columns) != len(leaves):
                raise ValueError("its columns are not those of its schema")
            found.rows += rows
            found.width = max((leaf.width for leaf in leaves), default=0)
            if found.rows * row_bytes > limit or found.width > _WIDEST_BYTES:
                raise too_large(where, size, limit)
            for index, (leaf, column) in enumerate(zip(leaves, columns, strict=True)):
                chunk = column.struct(3)
                if chunk is None:
                    raise ValueError("a column without its place")
                if not _add_chunk(stream, size, chunk, leaf, index, rows, limit, found):
                    raise too_large(where, size, limit)
    except DataError:
        raise
    except ValueError as error:
        raise damaged(where, str(error)) from error
    return found


def too_large(where: str, size: int, limit: int) -> DataError:
    """The error for a file that would take more than its limit."""
    return DataError(
        f"{where} holds more than {limit} bytes when decompressed, the most that is read from a file of {size} bytes: "
        "split it into smaller files in one folder, or export it as .jsonl"
    )


def damaged(where: str, reason: str) -> DataError:
    """The error for a file that is not what it seems."""
    return DataError(f"{where} is not a readable Parquet file ({reason}): download or export it again")


def _footer(stream: BinaryIO, size: int) -> Struct:
    if size < 12:
        raise ValueError("too short")
    stream.seek(size - 8)
    end = stream.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MARK or length + 12 > size:
        raise ValueError("it does not end as Parquet files do")
    if length > _LARGEST_FOOTER:
        raise ValueError(f"a footer of more than {_LARGEST_FOOTER} bytes")
    stream.seek(size - 8 - length)
    return read_struct(stream.read(length))[0]


def _leaves(elements: list[Struct]) -> list[_Leaf]:
    """The columns that hold values, in order; the schema is a tree, written parents first."""
    leaves: list[_Leaf] = []
    open_groups: list[list[int]] = []  # [children still to come, whether it is repeated]
    for place, element in enumerate(elements):
        repeated = element.number(3) == _REPEATED and place > 0
        children = _natural(element.number(5))
        above = any(group[1] for group in open_groups)
        if open_groups:
            open_groups[-1][0] -= 1
        elif place > 0:
            raise ValueError("a schema with several roots")
        if children or place == 0:
            open_groups.append([children, int(repeated)])
        else:
            leaves.append(_Leaf(repeated or above, _natural(element.number(2))))
        if len(open_groups) > _DEEPEST:
            raise ValueError("a schema that is nested too deep")
        while open_groups and open_groups[-1][0] == 0:
            open_groups.pop()
    if open_groups:
        raise ValueError("a schema that ends too early")
    return leaves


def _add_chunk(
    stream: BinaryIO, size: int, chunk: Struct, leaf: _Leaf, index: int, rows: int, limit: int, found: Pages
) -> bool:
    """Add the pages of one column of one group of rows; False where that is more than the limit."""
    wanted = _natural(chunk.number(5, I64))
    position, end = _extent(chunk, size)
    seen = largest = 0
    while seen < wanted and position < end:
        header, position = _page_header(stream, position, size)
        kind = header.number(1)
        inner = header.struct(_PAGES[kind]) if kind in _PAGES else None
        values = _natural(inner.number(1)) if inner is not None else 0
        uncompressed, position = _natural(header.number(2)), position + _natural(header.number(3))
        seen += values if kind != _DICTIONARY else 0
        largest = max(largest, uncompressed)
        found.total += uncompressed + (values * max(_ENTRY_BYTES, leaf.width) if leaf.repeated else 0)
        if found.total > limit:
            return False
        if inner is not None and inner.number(4 if kind == _DATA_V2 else 2) == _DELTA_BYTE_ARRAY:
            found.sharing.add(index)
    if index in found.sharing:
        found.shared = max(found.shared, largest)
        if leaf.repeated and seen * largest > limit:
            return False
    if not leaf.repeated and seen > rows:
        raise ValueError("a column holds more values than there are rows")
    return True


def _extent(chunk: Struct, size: int) -> tuple[int, int]:
    """First byte of a column chunk and the end of what Arrow may read of it."""
    start, length = _natural(chunk.number(9, I64)), _natural(chunk.number(7, I64))
    dictionary = chunk.number(11, I64)
    if dictionary is not None and 0 < dictionary < start:
        start = dictionary
    if start + length > size:
        raise ValueError("a column lies outside of the file")
    return start, min(start + length + _OLD_PADDING, size)


def _page_header(stream: BinaryIO, position: int, size: int) -> tuple[Struct, int]:
    """The header at a place of the file, and where the page itself begins."""
    window = _WINDOW
    while True:
        stream.seek(position)
        content = stream.read(min(window, size - position))
        try:
            header, used = read_struct(content)
            return header, position + used
        except TooShortError:
            if window >= min(_LARGEST_HEADER, size - position):
                raise
            window *= 8


def _natural(value: int | None) -> int:
    if value is not None and value < 0:
        raise ValueError("a negative size")
    return value or 0
