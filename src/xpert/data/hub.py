"""Hugging Face datasets, by hub name or folder -> rows.

Knows the `datasets` library, which it imports only when it is needed; does not know what the columns mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xpert.data.rows import Row
from xpert.errors import DataError

_BATCH_ROWS = 1024


def is_saved_dataset(folder: Path) -> bool:
    """True for a folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def saved_rows(folder: Path, split: str) -> Iterator[Row]:
    """The rows of a folder that `save_to_disk` wrote; a single dataset has no splits and is read whole.

    Raises:
        DataError: `datasets` is not installed, the folder is damaged, or it has no such split.
    """
    datasets = _library(str(folder))
    try:
        saved = datasets.load_from_disk(str(folder))
    except _refusals(datasets) as error:
        raise DataError(
            f"{folder} is not a readable saved dataset ({_short(error)}): write it again with `save_to_disk`"
        ) from error
    if isinstance(saved, datasets.DatasetDict):
        if split not in saved:
            raise DataError(f"{folder} has no split {split!r}: choose one of {', '.join(map(repr, saved))}")
        saved = saved[split]
    yield from _rows(f"{folder}", saved)


def hub_rows(name: str, split: str) -> Iterator[Row]:
    """The rows of one split of a dataset that `datasets.load_dataset` finds: a hub name or a data folder.

    Raises:
        DataError: `datasets` is not installed, the hub or the cache does not give the dataset, or no such split.
    """
    datasets = _library(name)
    try:
        loaded = datasets.load_dataset(name, split=split)
    except _refusals(datasets) as error:
        raise DataError(
            f"{name!r} gave no dataset with split {split!r} ({_short(error)}): it is no file or folder here that can "
            "be read as it is; for a dataset of the Hugging Face hub check the name, the split, the network and "
            "HF_HUB_OFFLINE"
        ) from error
    yield from _rows(name, loaded)


def _library(source: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{source}: reading a Hugging Face dataset needs datasets: `pip install datasets`, or export it as .jsonl"
        ) from error
    return datasets


def _refusals(datasets: Any) -> tuple[type[Exception], ...]:
    return (OSError, ValueError, KeyError, RuntimeError, datasets.exceptions.DatasetsError)


def _rows(source: str, dataset: Any) -> Iterator[Row]:
    number = 0
    # As Arrow tables, so that pictures and sounds in other columns are not decoded.
    for table in dataset.with_format("arrow").iter(batch_size=_BATCH_ROWS):
        for values in table.to_pylist():
            number += 1
            yield Row(f"{source}, row {number}", values)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
