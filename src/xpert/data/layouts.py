"""A folder of folders, laid out as a dataset of the hub -> the files of one split. Knows names; opens nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xpert.data.regular import files_inside
from xpert.data.split_names import of_split, split_of
from xpert.errors import DataError

_NO_DATA = frozenset(("config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"))


def nested_files(folder: Path, split: str, wanted: Callable[[Path], bool]) -> list[Path]:
    """The data files of a split, in the folder and in those inside it, sorted by name.

    Files whose names tell no split belong to every split. What a dataset's card says is not asked.

    Args:
        folder: the source.
        split: told by the names of folders and files.
        wanted: told of each file by its path; it looks at the name only.

    Raises:
        DataError: no such split or no file; or a file that is no regular one, or a link that leads out of the folder.
    """
    names = files_inside(folder, lambda name: name not in _NO_DATA and wanted(Path(name)))
    if not names:
        raise DataError(f"folder {folder} has no file to read, nor have the folders in it: give one with data files")
    return [folder / name for name in of_split(str(folder), names, [split_of(n) for n in names], split, strict=False)]
