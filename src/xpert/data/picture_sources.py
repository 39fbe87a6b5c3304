"""Where a person's pictures come from: a folder, a Parquet file or a hub name -> a dataset of the `datasets` library.

Knows files, names and that library; does not know columns, captions or what a picture shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xpert.data.hub import is_saved_dataset
from xpert.errors import DataError, extra_install

METADATA = 'metadata.jsonl with one {"file_name": "1.png", "text": "a caption"} a line'

_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"))
_NAMED = 3


def open_dataset(source: str, split: str) -> Any:
    """One split as a dataset of the `datasets` library.

    Raises:
        DataError: nothing there, nothing that can be opened, no such split, or pictures that the metadata leave out.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{source}: reading pictures needs datasets; {extra_install('image')}") from error
    path = Path(source).expanduser()
    folder = path.is_dir() and not is_saved_dataset(path)
    if not path.exists():
        _check_hub_name(source, path)
    try:
        with quiet():
            if path.is_dir() and not folder:
                found = datasets.load_from_disk(str(path))
            elif folder and _is_picture_folder(path):
                found = datasets.load_dataset("imagefolder", data_dir=str(path))
            elif path.is_file():
                found = datasets.load_dataset("parquet", data_files={split: str(path)})
            else:
                found = datasets.load_dataset(str(path) if folder else source)
    except refusals() as error:
        raise _not_opened(source, path, error) from error
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise DataError(f"{source} has no split {split!r}: choose one of {listed(list(found))}")
        if folder and _is_picture_folder(path):
            _check_metadata(source, path, found)
        found = found[split]
    return found


def _check_hub_name(source: str, path: Path) -> None:
    """Fail at once where a name is no folder here and the hub cannot give it."""
    if path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        raise DataError(
            f"no folder or file {path}: check the path, or give a Hugging Face name such as user/my-pictures"
        )
    from huggingface_hub import HfApi, is_offline_mode

    if is_offline_mode():
        return  # the library looks into its cache and nowhere else
    try:
        HfApi().dataset_info(source, timeout=10)
    except Exception as error:  # what the connection raises belongs to whichever HTTP library is below
        raise DataError(
            f"{source!r} is no folder here, and the hub did not give such a dataset ({type(error).__name__}): check "
            "the path or name and the network, or set HF_HUB_OFFLINE=1 to read one that is in the local cache"
        ) from error


def _not_opened(source: str, path: Path, error: Exception) -> DataError:
    reason = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}" if str(error) else type(error).__name__
    if path.is_dir():
        return DataError(
            f"{source} cannot be opened as pictures ({reason}): give a folder of pictures with {METADATA}, or one "
            "with Parquet files"
        )
    if path.is_file():
        return DataError(f"{source} is no Parquet file of pictures ({reason}): give the folder with the pictures")
    return DataError(
        f"{source!r} is neither a folder here nor a dataset in the local Hugging Face cache, and the hub did not give "
        f"it ({reason}): check the name, the network or HF_HUB_OFFLINE, or give a folder"
    )


def _files(folder: Path) -> list[Path]:
    hidden = (".", "__")
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in _SUFFIXES and not any(p.startswith(hidden) for p in file.relative_to(folder).parts)
    )


def _is_picture_folder(folder: Path) -> bool:
    """Pictures, and no Parquet data around them."""
    return bool(_files(folder)) and not any(f.stem != "metadata" for f in folder.rglob("*.parquet"))


def _check_metadata(source: str, folder: Path, found: Any) -> None:
    """Refuse pictures that the metadata do not name: they would be left out without a word."""
    if not any(folder.rglob("metadata.*")):
        return
    named: set[str] = set()
    for dataset in found.values():
        column = next((name for name, kind in dataset.features.items() if type(kind).__name__ == "Image"), None)
        if column is not None:
            kind = type(dataset.features[column])
            rows = dataset.select_columns([column]).cast_column(column, kind(decode=False))
            named |= {str(Path(row["path"]).resolve()) for row in rows[column] if row and row["path"]}
    left_out = [file.relative_to(folder).as_posix() for file in _files(folder) if str(file.resolve()) not in named]
    if left_out:
        shown = ", ".join(left_out[:_NAMED]) + (" ..." if len(left_out) > _NAMED else "")
        raise DataError(
            f"{source}: the metadata name no row for {len(left_out)} of the pictures ({shown}): add their rows, or "
            "move them to another folder"
        )


def listed(names: Sequence[object]) -> str:
    """Names as an error shows them."""
    return ", ".join(repr(str(name)) for name in names) or "none"


def refusals() -> tuple[type[Exception], ...]:
    """What the `datasets` library raises where it cannot use what it is given."""
    import datasets

    return (OSError, ValueError, KeyError, TypeError, RuntimeError, datasets.exceptions.DatasetsError)


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
