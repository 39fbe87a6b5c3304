"""A Parquet or Arrow file -> its rows, whose values are decoded one by one when they are asked for.

Knows pyarrow and how much memory a file may claim; does not know what the columns mean. Errors never quote a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from xpert.data import files
from xpert.data.arrow_messages import FILE_MARK, check_messages
from xpert.data.arrow_messages import damaged as damaged_arrow
from xpert.data.parquet_pages import check_pages, too_large
from xpert.data.parquet_pages import damaged as damaged_parquet
from xpert.data.regular import open_regular
from xpert.data.rows import Row
from xpert.data.table_values import cost_of, readable, with_bytes
from xpert.errors import DataError

ARROW_SUFFIX = ".arrow"

_FLOOR = 64 * 2**20
_RATIO = 50
_BATCH_ROWS = 1024
_ROW_BYTES = 128
"""What a row takes at least once it is a sample, however little of the file stands for it."""

_LONGEST_LIST = 10_000
_LONGEST_TEXT = 16 * 2**20

Damage = Callable[[str, str], DataError]


class Table:
    """An open file.

    Attributes:
        names: of the columns.
        types: of the columns, as pyarrow has them.
    """

    def __init__(self, path: Path, schema: Any, batches: Iterator[Any], size: int, limit: int, damage: Damage) -> None:
        self._path, self._batches, self._size, self._limit, self._damage = path, batches, size, limit, damage
        self.names: list[str] = list(schema.names)
        self.types: list[Any] = list(schema.types)
        for number, name in enumerate(self.names):
            if name in self.names[:number]:
                raise DataError(
                    f"{path}: columns {self.names.index(name) + 1} and {number + 1} have the same name: rename one"
                )

    def rows(self) -> Iterator[Row]:
        """All rows, numbered from 1.

        Raises:
            DataError: the file is damaged, or takes more memory than one of its size may; on access, a value that
                cannot be read.
        """
        number = taken = 0
        with reading(self._path, self._damage):
            for batch in self._batches:
                for start in range(0, batch.num_rows, _BATCH_ROWS):
                    piece = batch.slice(start, _BATCH_ROWS)
                    taken += piece.num_rows * _ROW_BYTES + sum(cost_of(column) for column in piece.columns)
                    if taken > self._limit:
                        raise too_large(str(self._path), self._size, self._limit)
                    for index in range(piece.num_rows):
                        number += 1
                        where = f"{self._path}, row {number}"
                        yield Row(where, Values(self.names, piece.columns, index, where))


class Values(Mapping[str, Any]):
    """The values of one row by column name; one that cannot be read is a DataError when it is asked for."""

    def __init__(self, names: Sequence[str], columns: Sequence[Any], index: int, where: str) -> None:
        self._names, self._columns, self._index, self._where = names, columns, index, where

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        number = self._names.index(name)
        column = self._columns[number]
        if not readable(column.type):
            raise DataError(
                f"{self._where}: column {number + 1} is of a kind that is not read "
                f"({str(column.type).partition('<')[0]}): write it as text"
            )
        try:
            return column[self._index].as_py()
        except Exception as error:  # bytes that are no UTF-8, dates beyond year 9999, time zones nobody knows
            kind = "holds text that is not UTF-8" if isinstance(error, UnicodeError) else "holds a value out of range"
            raise DataError(
                f"{self._where}: column {number + 1} {kind}: export the data again, with text as UTF-8"
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@contextmanager
def open_table(path: Path, *, columns: Sequence[str] | None = None, bounded: bool = True) -> Iterator[Table]:
    """Open a Parquet or Arrow file; which of the two, its content says.

    Args:
        path: the file.
        columns: only these are decoded; None: all.
        bounded: hold it to `files.MAX_TEXT_BYTES` too, and not only to its own size.

    Raises:
        DataError: it cannot be read, or pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow: `pip install pyarrow`, or export as .jsonl") from error
    try:
        stream = open_regular(path)
    except OSError as error:
        raise files.unreadable(path, error) from error
    with stream:
        try:
            size = stream.seek(0, 2)
            stream.seek(0)
            start = stream.read(len(FILE_MARK))
        except OSError as error:  # a file of the system that has no size
            raise files.unreadable(path, error) from error
        limit = max(_FLOOR, _RATIO * size)
        limit = min(limit, files.MAX_TEXT_BYTES) if bounded else limit
        is_arrow = path.suffix.lower() == ARROW_SUFFIX or start == FILE_MARK
        damage = damaged_arrow if is_arrow else damaged_parquet
        with reading(path, damage):
            if is_arrow:
                first = len(FILE_MARK) if start == FILE_MARK else 0
                schema, batches = _arrow(stream, first, size, limit, path, columns)
            else:
                schema, batches = _parquet(stream, size, limit, path, columns)
            table = Table(path, schema, batches, size, limit, damage)
        yield table


def parquet_rows(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file.

    Raises:
        DataError: the file is damaged, claims more memory than a file of its size may, or pyarrow is not installed.
    """
    with open_table(path) as table:
        yield from table.rows()


@contextmanager
def reading(path: Path, damage: Damage) -> Iterator[None]:
    """Tell what pyarrow raises in the block as one kind of error."""
    import pyarrow

    try:
        yield
    except UnicodeDecodeError as error:
        raise damage(str(path), "the name of a column is not UTF-8") from error
    except pyarrow.ArrowMemoryError as error:
        raise damage(str(path), "it claims more memory than there is") from error
    except (pyarrow.ArrowException, OSError, MemoryError, OverflowError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise damage(str(path), reason) from error


class _Bounded:
    """A file that is never asked for more than it has, since what is asked for is allocated first."""

    closed = False

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        self._stream, self._size = stream, size
        stream.seek(start)

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._size - self._stream.tell())
        return self._stream.read(left if count is None or count < 0 else min(count, left))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def close(self) -> None:
        """The stream is closed by whoever opened it."""


def _parquet(
    stream: BinaryIO, size: int, limit: int, path: Path, columns: Sequence[str] | None
) -> tuple[Any, Iterator[Any]]:
    from pyarrow import parquet

    limits = {"thrift_container_size_limit": _LONGEST_LIST, "thrift_string_size_limit": _LONGEST_TEXT}
    usual = {"pre_buffer": False, "arrow_extensions_enabled": False, **limits}
    pages = check_pages(stream, size, limit, _ROW_BYTES, str(path))
    with parquet.ParquetFile(_Bounded(stream, 0, size), **usual) as file:
        metadata = file.metadata
        leaves = [metadata.schema.column(index) for index in range(metadata.num_columns)]
        # Values that stand once in the file and often in the rows stay so in memory, until one is asked for.
        once = [
            leaf.path
            for index, leaf in enumerate(leaves)
            if leaf.physical_type == "BYTE_ARRAY"
            and leaf.logical_type.type in ("NONE", "STRING", "JSON", "ENUM", "BSON")
            and index not in pages.sharing
        ]
    rows = max(1, min(_BATCH_ROWS, _FLOOR // max(1, pages.shared, pages.width)))
    opened = parquet.ParquetFile(
        _Bounded(stream, 0, size), metadata=metadata, read_dictionary=once, page_checksum_verification=True, **usual
    )
    schema = opened.schema_arrow
    kept = None if columns is None else [name for name in schema.names if name in columns]
    if kept is not None:
        import pyarrow

        schema = pyarrow.schema([schema.field(name) for name in kept])
    return schema, _checked_batches(opened.iter_batches(batch_size=rows, columns=kept, use_threads=False))


def _arrow(
    stream: BinaryIO, start: int, size: int, limit: int, path: Path, columns: Sequence[str] | None
) -> tuple[Any, Iterator[Any]]:
    import pyarrow

    check_messages(stream, start, size, max(limit, size), str(path))
    reader = pyarrow.ipc.open_stream(_Bounded(stream, start, size))
    schema = reader.schema
    kept = [number for number, name in enumerate(schema.names) if columns is None or name in columns]
    chosen = pyarrow.schema([_field(schema, number) for number in kept])
    return chosen, _checked_batches(batch.select(kept) for batch in reader)


def _checked_batches(batches: Iterable[Any]) -> Iterator[Any]:
    import pyarrow

    for batch in batches:
        columns = [_checked(column) for column in batch.columns]
        if columns:
            yield pyarrow.RecordBatch.from_arrays(columns, names=[str(number) for number in range(len(columns))])


def _field(schema: Any, number: int) -> Any:
    """A column's field; where its type is an extension, with the type that it is kept as."""
    import pyarrow

    field = schema.field(number)
    kind = field.type.storage_type if isinstance(field.type, pyarrow.BaseExtensionType) else field.type
    return pyarrow.field(field.name, kind, field.nullable)


def _checked(column: Any) -> Any:
    """A column whose parts were seen to lie in their buffers; text that is not UTF-8 is left to its row."""
    import pyarrow

    column = column.storage if isinstance(column, pyarrow.ExtensionArray) else column
    try:
        column.validate(full=True)
    except pyarrow.ArrowInvalid:
        column.view(with_bytes(column.type)).validate(full=True)
    return column
