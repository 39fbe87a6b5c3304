"""A folder of pictures, with metadata beside them or none -> rows with a name of a picture each.

Knows the layout of the hub's image folders; opens the metadata, never a picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from xpert.data.files import read_text
from xpert.data.formats import csv_rows, jsonl_rows
from xpert.data.regular import files_inside, is_plain
from xpert.data.rows import Row
from xpert.data.splits import names_of_split, split_of, split_of_folder
from xpert.data.tables import parquet_rows
from xpert.errors import DataError
from xpert.printing import printable

METADATA = 'metadata.jsonl with one {"file_name": "1.png", "text": "a caption"} a line'

_SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .webp .gif .bmp .tif .tiff .avif .jp2 .ppm .pgm .pbm .pnm .tga".split()
)
_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_IMAGE, _FILE = "image", "file_name"
_NAMED = 3


def picture_names(folder: Path) -> list[str]:
    """The pictures of a folder and of the folders in it, as names relative to it, sorted."""
    return files_inside(folder, lambda name: PurePosixPath(name).suffix.lower() in _SUFFIXES)


def picture_folder_rows(source: str, folder: Path, split: str) -> tuple[list[Row], list[str], list[str]]:
    """The rows of one split of a folder of pictures, its columns, and those of them that name pictures.

    Metadata give the rows and their order; names in them are relative to the file that they stand in. Without metadata
    each picture is a row. Folders tell the splits; names of pictures do only where each of them names one.

    Raises:
        DataError: broken metadata, pictures that they leave out, no such split, or archives, which are not opened.
    """
    archives = files_inside(folder, lambda name: name.lower().endswith(".zip"))
    if archives:
        raise DataError(
            f"{source} holds archives beside its pictures ({len(archives)} .zip), which are not opened: unpack them, "
            "or move them to another folder"
        )
    pictures = picture_names(folder)
    metadata = files_inside(folder, lambda name: name in _METADATA)
    if not metadata:
        names = names_of_split(source, pictures, _splits(pictures), split)
        return [Row(f"{source}, row {n}", {_IMAGE: name}) for n, name in enumerate(names, 1)], [_IMAGE], [_IMAGE]
    if len({PurePosixPath(name).suffix for name in metadata}) > 1:
        raise DataError(f"{source} cannot be opened as pictures (metadata in several formats): keep one of them")
    try:
        rows = [row for name in metadata for row in _metadata_rows(folder, name)]
    except DataError as error:
        raise DataError(f"{source} cannot be opened as pictures ({error})") from error
    holders = list(dict.fromkeys(column for _, own, _ in rows for column in own))
    named = [name for _, _, name in rows]
    _refuse_left_out(source, pictures, named)
    chosen = set(names_of_split(source, sorted(set(named)), _splits(sorted(set(named))), split))
    kept = [row for row, _, name in rows if name in chosen]
    return kept, list(dict.fromkeys(column for row in kept for column in row.values)), holders


def _splits(names: list[str]) -> list[str | None]:
    by_folder = [split_of_folder(name) for name in names]
    by_name = [split_of(name) for name in names]
    return by_name if all(by_name) and not any(by_folder) else by_folder


def _metadata_rows(folder: Path, name: str) -> Iterator[tuple[Row, list[str], str]]:
    """Rows whose names of files are relative to the whole folder, which columns those are, and the first such name."""
    file, place = folder / name, PurePosixPath(name).parent
    if file.suffix == ".parquet":
        rows = parquet_rows(file)
    else:
        rows = (csv_rows if file.suffix == ".csv" else jsonl_rows)(file, read_text(file))
    for row in rows:
        values: dict[str, Any] = {}
        own: list[str] = []
        for key in row.values:
            value, column = row.values[key], _picture_column(key)
            if column is None or not isinstance(value, str | None):
                values.setdefault(key, value)
                continue
            inside = value is not None and is_plain(value)
            values[column] = f"{place}/{value}" if inside and place != PurePosixPath(".") else value
            own.append(column)
        if not own:
            raise DataError(f'{row.where}: no "file_name": name the picture of each row, relative to {file.name}')
        first = next((values[column] for column in own if values[column] and is_plain(values[column])), f"{place}/")
        yield Row(row.where, values), own, first


def _picture_column(key: str) -> str | None:
    """The column that a key of metadata becomes: file_name is image, face_file_name is face."""
    if key == _FILE:
        return _IMAGE
    return key.removesuffix("_" + _FILE) or _IMAGE if key.endswith("_" + _FILE) else None


def _refuse_left_out(source: str, pictures: list[str], named: list[str]) -> None:
    """Refuse pictures that the metadata do not name: they would be left out without a word."""
    known = {PurePosixPath(name).as_posix() for name in named}
    left_out = [name for name in pictures if name not in known]
    if left_out:
        shown = ", ".join(printable(name, 80) for name in left_out[:_NAMED]) + (
            " ..." if len(left_out) > _NAMED else ""
        )
        raise DataError(
            f"{source}: the metadata name no row for {len(left_out)} of the pictures ({shown}): add their rows, or "
            "move them to another folder"
        )
