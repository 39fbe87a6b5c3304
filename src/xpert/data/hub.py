"""Datasets of the Hugging Face hub, by name -> rows.

Knows the `datasets` library, which it imports only when it is needed; does not know what the columns mean. What the
library prepares lies in a folder of ours that is removed with the block; the hub's own download cache stays. A dataset
is read only where all its files lie in its own repository.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpert.data.regular import open_regular, refuse_name
from xpert.data.rows import Row
from xpert.data.tables import Values
from xpert.errors import DataError

_BATCH_ROWS = 256
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_CARDS = ("README.md", ".huggingface.yaml")
_BUILDERS = frozenset(("parquet", "arrow", "csv", "json", "text", "imagefolder", "webdataset"))
"""Kinds of files that hold their data themselves; others may name files elsewhere (HDF5, Lance, Iceberg, ...)."""


@dataclass(frozen=True)
class HubDataset:
    """One split of a dataset, as long as its block lasts.

    Attributes:
        names: of the columns.
        types: of the columns, as pyarrow has them.
    """

    names: list[str]
    types: list[Any]
    _name: str
    _dataset: Any
    _roots: tuple[Path, ...]

    def rows(self) -> Iterator[Row]:
        """All rows, numbered from 1."""
        number = 0
        # As Arrow tables, so that pictures and sounds in other columns are not decoded.
        for table in self._dataset.with_format("arrow").iter(batch_size=_BATCH_ROWS):
            columns = [column.combine_chunks() for column in table.columns]
            for index in range(table.num_rows):
                number += 1
                where = f"{self._name}, row {number}"
                yield Row(where, Values(self.names, columns, index, where))

    def read_file(self, path: str, where: str, most: int) -> bytes:
        """A file that the library downloaded for this dataset.

        Raises:
            DataError: it is any other file.
        """
        real = Path(path).resolve()
        if "://" in path or "::" in path or not any(real.is_relative_to(root) for root in self._roots):
            raise DataError(f"{where} names something outside the dataset, which is not opened: delete the row")
        try:
            with open_regular(real, follow=False) as stream:
                return stream.read(most)
        except OSError as error:
            raise DataError(f"{where} cannot be read ({error.strerror or error}): download it again") from error


@contextmanager
def open_hub(name: str, split: str) -> Iterator[HubDataset]:
    """Open one split of a dataset of the hub; offline, of the local cache.

    Raises:
        DataError: `datasets` is not installed, it is no name of a dataset, the hub or the cache does not give it, it
            has no such split, or files of it lie elsewhere.
    """
    datasets = _library(name)
    found = look_up(name, split)
    with tempfile.TemporaryDirectory(prefix="xpert-hub-", ignore_cleanup_errors=True) as room, quiet():
        try:
            if found is None:  # the library looks into its cache and nowhere else
                dataset = datasets.load_dataset(name, split=split)
            else:
                builder = datasets.load_dataset_builder(found.id, revision=found.sha, cache_dir=room)
                _check_builder(builder, found)
                builder.download_and_prepare()
                dataset = builder.as_dataset(split=split)
        except DataError:
            raise
        except Exception as error:  # what a connection raises belongs to whichever library is below
            raise DataError(
                f"{name!r} gave no dataset with split {split!r} ({_short(error)}): {name!r} is neither a folder here "
                "nor did the hub or its local cache give it; check the name, the split, the network and HF_HUB_OFFLINE"
            ) from error
        schema = dataset.with_format("arrow").features.arrow_schema
        roots = (Path(room).resolve(), *_download_folders(name if found is None else found.id))
        yield HubDataset(list(schema.names), list(schema.types), name, dataset, roots)


def hub_rows(name: str, split: str) -> Iterator[Row]:
    """The rows of one split of a dataset of the hub.

    Raises:
        DataError: as `open_hub` does.
    """
    with open_hub(name, split) as dataset:
        yield from dataset.rows()


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars of the `datasets` library, which are put back after."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def check_config(stated: Any, where: str) -> None:
    """See that the files which a dataset's card names are plain relative names.

    Args:
        stated: the metadata of the card.
        where: the dataset, for errors.

    Raises:
        DataError: one is a URL or leads elsewhere.
    """
    configs = stated.get("configs") if isinstance(stated, dict) else None
    for config in configs if isinstance(configs, list) else []:
        for key in ("data_files", "data_dir"):
            for name in _texts(config.get(key) if isinstance(config, dict) else None):
                refuse_name(name, f"{where}: its card")


def look_up(name: str, split: str) -> Any:
    """What the hub tells of a dataset whose card names no files elsewhere; None where nothing may be asked.

    It is asked once, so that an unreachable hub fails at once.

    Raises:
        DataError: no name of the hub, the hub does not give it, or its card names files elsewhere.
    """
    check_name(name)
    if _is_offline():
        return None
    from huggingface_hub import HfApi

    try:
        found = HfApi().dataset_info(name, timeout=10)
        _check_cards(found)
    except DataError:
        raise
    except Exception as error:  # what the connection raises belongs to whichever HTTP library is below
        raise DataError(
            f"{name!r} gave no dataset with split {split!r} ({type(error).__name__}): {name!r} is no folder here, and "
            "the hub did not give it; set HF_HUB_OFFLINE=1 to read one that is in the local cache, or check the name, "
            "the split, the network and HF_HUB_OFFLINE"
        ) from error
    return found


def check_name(name: str) -> None:
    """See that a name can be one of the hub's, before a library takes it for a URL, a path or a kind of files.

    Raises:
        DataError: it cannot.
    """
    if not _NAME.fullmatch(name) or Path(name).exists() or _is_file_kind(name):
        raise DataError(f"{name!r} is neither a file or folder here nor a name of the Hugging Face hub: check it")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "split":
                yield from _texts(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)


def _check_cards(found: Any) -> None:
    import yaml
    from huggingface_hub import DatasetCard, hf_hub_download

    present = {sibling.rfilename for sibling in found.siblings or ()}
    for name in _CARDS:
        if name in present:
            file = hf_hub_download(found.id, name, repo_type="dataset", revision=found.sha)
            text = Path(file).read_text("utf-8")
            stated = DatasetCard(text).data.__dict__ if name.endswith(".md") else yaml.safe_load(text)
            check_config(stated, found.id)


def _check_builder(builder: Any, found: Any) -> None:
    kinds = {base.__module__.rsplit(".", 1)[-1] for base in type(builder).__mro__}
    if not kinds & _BUILDERS:
        raise DataError(
            f"{found.id} is kept in a format that is not read: convert it to Parquet, or give another dataset"
        )
    own = f"hf://datasets/{found.id}@"
    for files in (builder.config.data_files or {}).values():
        if not all(str(file).startswith(own) for file in files):
            raise DataError(f"{found.id} names files outside of it, which are not opened: give another dataset")


def _download_folders(name: str) -> tuple[Path, ...]:
    """Where the hub's own cache keeps the files of a dataset."""
    from huggingface_hub import constants

    return (Path(constants.HF_HUB_CACHE, "datasets--" + name.replace("/", "--")).resolve(),)


def _is_offline() -> bool:
    import datasets
    from huggingface_hub import is_offline_mode

    return bool(is_offline_mode() or datasets.config.HF_HUB_OFFLINE)


def _is_file_kind(name: str) -> bool:
    """Whether the library takes a name for a kind of files, such as "text", and reads those of the working folder."""
    return name.isidentifier() and importlib.util.find_spec(f"datasets.packaged_modules.{name}") is not None


def _library(source: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{source}: reading a Hugging Face dataset needs datasets: `pip install datasets`, or export it as .jsonl"
        ) from error
    return datasets


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:300]}" if str(error) else type(error).__name__
