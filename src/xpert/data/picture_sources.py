"""Where a person's pictures come from: a folder, a Parquet or Arrow file, or a hub name -> rows with their pictures.

Knows files, names and layouts; does not know captions or what a picture shows. Nothing outside the source is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpert.data.hub import open_hub
from xpert.data.picture_folders import METADATA, picture_folder_rows, picture_names
from xpert.data.picture_store import MAX_PICTURE_BYTES, ReadFile, files_of
from xpert.data.regular import files_inside, named_by_user
from xpert.data.rows import Row
from xpert.data.saved import is_saved_dataset, saved_files
from xpert.data.splits import names_of_split, split_of
from xpert.data.table_values import is_bytes, is_text
from xpert.data.tables import open_table
from xpert.errors import DataError, extra_install

_TABLES = (".parquet", ".arrow")


@dataclass(frozen=True)
class PictureRows:
    """The rows of one split.

    Attributes:
        names: of the columns.
        rows: of those columns that are asked for, in order.
        holds_pictures: whether a column can hold pictures, by its type.
        read_file: opens what a row names instead of holding it; None: nothing.
        lasting: whether `read_file` still works when the source is closed.
    """

    names: list[str]
    rows: Callable[[Sequence[str]], Iterator[Row]]
    holds_pictures: Callable[[str], bool]
    read_file: ReadFile | None
    lasting: bool = True


@contextmanager
def open_source(source: str, split: str) -> Iterator[PictureRows]:
    """Open one split of a source.

    Raises:
        DataError: nothing there, nothing that can be opened, no such split, or pictures that the metadata leave out.
    """
    path = named_by_user(source)
    if path.is_dir() and is_saved_dataset(path):
        yield _tables(source, saved_files(path, split), path / split if (path / split).is_dir() else path)
    elif path.is_dir():
        yield _folder(source, path, split)
    elif path.exists():
        yield _file(source, path)
    else:
        if path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
            raise DataError(
                f"no folder or file {path}: check the path, or give a Hugging Face name such as user/my-pictures"
            )
        with open_hub(source, split) as dataset:
            kinds = dict(zip(dataset.names, dataset.types, strict=True))

            def read_file(name: str, where: str) -> bytes:
                return dataset.read_file(name, where, MAX_PICTURE_BYTES)

            yield PictureRows(
                dataset.names, lambda _: dataset.rows(), lambda name: _can_hold(kinds[name]), read_file, lasting=False
            )


def _folder(source: str, folder: Path, split: str) -> PictureRows:
    def is_table(name: str) -> bool:
        return name.lower().endswith(_TABLES) and Path(name).stem != "metadata"

    tables = files_inside(folder, is_table)
    if tables:
        names = names_of_split(source, tables, [split_of(name) for name in tables], split)
        return _tables(source, [folder / name for name in names], folder)
    if not picture_names(folder):
        raise DataError(
            f"{source} cannot be opened as pictures (no picture and no Parquet file lies in it): give a folder of "
            f"pictures with {METADATA}, or one with Parquet files"
        )
    rows, columns, holders = picture_folder_rows(source, folder, split)
    return PictureRows(columns, lambda _: iter(rows), lambda name: name in holders, files_of(folder))


def _file(source: str, path: Path) -> PictureRows:
    try:
        return _tables(source, [path], None)
    except DataError as error:
        raise DataError(
            f"{source} is no Parquet file of pictures ({error}): give the folder with the pictures"
        ) from error


def _tables(source: str, files: Sequence[Path], folder: Path | None) -> PictureRows:
    """Rows of Parquet or Arrow files, which must have the columns of the first."""
    if not _has_pyarrow():
        raise DataError(f"{source}: reading pictures needs pyarrow; {extra_install('image')}")
    with open_table(files[0], bounded=False) as first:
        kinds = dict(zip(first.names, first.types, strict=True))

    def rows(names: Sequence[str]) -> Iterator[Row]:
        for file in files:
            with open_table(file, columns=names, bounded=False) as table:
                missing = [number for number, name in enumerate(kinds, 1) if name in names and name not in table.names]
                if missing:
                    raise DataError(
                        f"{file}: column {missing[0]} of {files[0].name} is not there: files of one folder have the "
                        "same columns"
                    )
                yield from table.rows()

    return PictureRows(
        list(kinds), rows, lambda name: _can_hold(kinds[name]), None if folder is None else files_of(folder)
    )


def _can_hold(kind: Any) -> bool:
    """Whether values of an Arrow type can be pictures: {bytes, path}, bytes, names, or nothing at all."""
    from pyarrow import types

    if types.is_struct(kind):
        return bool({"bytes", "path"} & {kind.field(number).name for number in range(kind.num_fields)})
    return bool(is_bytes(kind) or is_text(kind) or types.is_null(kind))


def _has_pyarrow() -> bool:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return False
    return True
