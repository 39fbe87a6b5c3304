"""A folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote -> its Arrow files.

Knows the names in such a folder; reads no rows. The names of files come from the folder itself, so each is checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xpert.data.files import read_text
from xpert.data.regular import check_regular
from xpert.data.rows import Row
from xpert.data.splits import no_split
from xpert.data.tables import open_table
from xpert.errors import DataError

_SPLITS, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"


def is_saved_dataset(folder: Path) -> bool:
    """True for a folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote."""
    return (folder / _SPLITS).is_file() or ((folder / _STATE).is_file() and (folder / _INFO).is_file())


def saved_files(folder: Path, split: str) -> list[Path]:
    """The Arrow files of a split, in order; a single dataset has no splits and is read whole.

    Raises:
        DataError: the folder is damaged, names files that are not in it, or has no such split.
    """
    inner = folder
    if (folder / _SPLITS).is_file():
        splits = _names(folder, _read(folder, folder / _SPLITS).get("splits"))
        if split not in splits:
            raise no_split(str(folder), split, splits, in_files=False)
        inner = folder / split
        if inner.is_symlink() or not inner.is_dir():
            raise _damaged(folder, "the folder of the split is missing")
    state = _read(folder, inner / _STATE)
    if state.get("_indices_data_files"):
        raise _damaged(folder, "it holds an order of rows beside its rows")
    listed = state.get("_data_files")
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in _list(folder, listed)]
    files = [inner / name for name in _names(folder, names)]
    for file in files:
        if not file.exists():
            raise _damaged(folder, "a file of its rows is missing")
    check_regular(folder, files)
    return files


def saved_rows(folder: Path, split: str) -> Iterator[Row]:
    """The rows of a folder that `save_to_disk` wrote.

    Raises:
        DataError: pyarrow is not installed, the folder is damaged, or it has no such split.
    """
    for file in saved_files(folder, split):
        with open_table(file) as table:
            yield from table.rows()


def _read(folder: Path, file: Path) -> dict[str, Any]:
    check_regular(folder, [file])
    try:
        found = json.loads(read_text(file))
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, f"{file.name} is no JSON") from error
    if not isinstance(found, dict):
        raise _damaged(folder, f"{file.name} is no JSON object")
    return found


def _list(folder: Path, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise _damaged(folder, "it lists no files")
    return value


def _names(folder: Path, names: Any) -> list[str]:
    """Plain names of files, such as data-00000-of-00001.arrow."""
    for name in _list(folder, names):
        plain = isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\:\0")
        if not plain:
            raise _damaged(folder, "it names files outside of it")
    return list(names)


def _damaged(folder: Path, reason: str) -> DataError:
    return DataError(f"{folder} is not a readable saved dataset ({reason}): write it again with `save_to_disk`")
