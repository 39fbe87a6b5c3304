"""A person's pictures with their captions, from what `datasets.load_dataset` opens, checked before any work is done.

Knows the `datasets` library and its folders; does not know models, sizes that they want, or how pictures are cropped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image

from xpert.data.contents import kind_of
from xpert.data.decoding import decode_picture
from xpert.data.picture_sources import METADATA, listed, open_dataset, quiet, refusals
from xpert.errors import DataError

Caption = str | list[str] | None
OnProgress = Callable[[str, int, int], None]

STAGE = "checking pictures"
_WORKERS = 8
_NAMED = 3


class PictureSet:
    """Pictures that were all decoded once, and their captions.

    Attributes:
        digest: SHA-256 over the encoded bytes of all pictures and their captions, in order.

    Args:
        source: what they were opened from, for errors.
        rows: a dataset of one column, its pictures not decoded.
        captions: one entry a picture.
        on_progress: told of the check, picture by picture.

    Raises:
        DataError: pictures that cannot be used; the first few are named, with the way out.
    """

    def __init__(self, source: str, rows: Any, captions: Sequence[Caption], on_progress: OnProgress | None) -> None:
        self._source, self._rows, self._captions = source, rows, list(captions)
        self._sizes: list[tuple[int, int]] = []
        self.digest = self._check(on_progress)

    def __len__(self) -> int:
        return len(self._captions)

    def caption(self, index: int) -> Caption:
        """The caption of a picture: a text, several to choose from, or None."""
        return self._captions[index]

    def size(self, index: int) -> tuple[int, int]:
        """(width, height) of a picture in pixels, upright."""
        return self._sizes[index]

    def name(self, index: int) -> str:
        """The picture's file name, or "row 3" where it has none."""
        return self._file(self._row(index)) or f"row {index + 1}"

    def picture(self, index: int) -> Image.Image:
        """The picture in RGB, upright, alpha laid over white.

        Raises:
            DataError: it was changed or removed since it was checked.
        """
        return self._decoded(index)[0]

    def _row(self, index: int) -> dict[str, Any] | None:
        row: dict[str, Any] | None = self._rows[index][self._rows.column_names[0]]
        return row

    def _file(self, row: dict[str, Any] | None) -> str:
        return str((row or {}).get("path") or "").replace("\\", "/").rsplit("/", 1)[-1]

    def _decoded(self, index: int) -> tuple[Image.Image, str]:
        """A picture and the SHA-256 of its encoded bytes."""
        row = self._row(index)
        file = self._file(row)
        where = f"{self._source}, row {index + 1}" + (f" ({file})" if file else "")
        if row is None or (row["bytes"] is None and not row["path"]):
            raise DataError(f"{where} holds no picture: fill it in or delete the row")
        content = row["bytes"] if row["bytes"] is not None else _read(row["path"], where)
        return decode_picture(content, where), hashlib.sha256(content).hexdigest()

    def _check(self, on_progress: OnProgress | None) -> str:
        whole, faults = hashlib.sha256(json.dumps(self._captions).encode()), []
        pool = ThreadPoolExecutor(min(_WORKERS, os.cpu_count() or 1))

        def inspect(index: int) -> tuple[tuple[int, int], str] | DataError:
            try:
                picture, digest = self._decoded(index)
            except DataError as error:
                return error
            return picture.size, digest

        try:
            for done, found in enumerate(pool.map(inspect, range(len(self))), start=1):
                if isinstance(found, DataError):
                    faults.append(str(found))
                else:
                    self._sizes.append(found[0])
                    whole.update(found[1].encode())
                if on_progress is not None:
                    on_progress(STAGE, done, len(self))
        finally:
            pool.shutdown(cancel_futures=True)
        _refuse(faults, len(self))
        return whole.hexdigest()


def open_pictures(
    source: str,
    *,
    image_column: str = "image",
    caption_column: str = "text",
    split: str = "train",
    most: int | None = None,
    need_captions: bool = True,
    on_progress: OnProgress | None = None,
) -> PictureSet:
    """Open a person's pictures and decode each of them once.

    Args:
        source: a folder of pictures with metadata.jsonl, metadata.csv or metadata.parquet; a folder with Parquet
            files, or one such file; a folder that `save_to_disk` wrote; or a name of the Hugging Face hub.
        image_column: column of the pictures.
        caption_column: column of the captions: a text, or a list of texts to choose from.
        split: which split of the dataset.
        most: so many of the first pictures at most; None: all.
        need_captions: False: the column may be missing, or empty in some rows; those captions are None.
        on_progress: told (stage, done, total).

    Raises:
        DataError: nothing there, no such split or column, missing or wrong captions, or pictures that cannot be
            used; the text names file and row and the way out.
    """
    dataset = open_dataset(source, split)
    if image_column not in dataset.column_names:
        raise DataError(
            f"{source} has no column {image_column!r} of pictures; found {listed(dataset.column_names)}: name it with "
            "--image-column (image_column in Python), or give a folder of pictures"
        )
    if most is not None:
        dataset = dataset.select(range(min(most, len(dataset))))
    if not len(dataset):
        raise DataError(f"{source} holds no pictures: give at least one")
    captions = _captions(source, dataset, image_column, caption_column, need_captions)
    import datasets

    rows = dataset.select_columns([image_column])
    try:
        with quiet():
            rows = rows.cast_column(image_column, datasets.Image(decode=False))
    except refusals() as error:
        kind = dataset.features[image_column]
        raise DataError(
            f"{source}: column {image_column!r} holds {kind}, not pictures: name the right one with --image-column "
            "(image_column in Python)"
        ) from error
    return PictureSet(source, rows, captions, on_progress)


def _captions(source: str, dataset: Any, image_column: str, column: str, needed: bool) -> list[Caption]:
    if column not in dataset.column_names:
        if not needed:
            return [None] * len(dataset)
        raise DataError(
            f"{source} has no captions: no column {column!r}; found {listed(dataset.column_names)}: name it with "
            f"--caption-column (caption_column in Python), or put captions beside the pictures in {METADATA}; where "
            "pictures are explained, selected or merged for, --vision MODEL writes them"
        )
    values, faults = dataset.select_columns([column]).with_format(None)[column], []
    captions: list[Caption] = []
    for number, value in enumerate(values, start=1):
        texts = value if isinstance(value, list) else [value]
        wrong = next((text for text in texts if not isinstance(text, str | None)), None)
        if wrong is not None:
            faults.append(f"{source}, row {number}: {column!r} is {kind_of(wrong)}, not text: write captions as text")
        kept = [text for text in texts if isinstance(text, str) and text.strip()]
        if needed and wrong is None and (not kept or len(kept) < len(texts)):
            faults.append(f"{source}, row {number}: the caption in {column!r} is empty: fill it in or delete the row")
        captions.append((kept if isinstance(value, list) else kept[0]) if kept else None)
    _refuse(faults, len(captions))
    return captions


def _read(path: str, where: str) -> bytes:
    try:
        if "::" in path or "://" in path:
            import fsspec  # type: ignore[import-untyped]

            with fsspec.open(path, "rb") as stream:
                content: bytes = stream.read()
            return content
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{where}: there is no such file: put it there or delete the row") from error
    except OSError as error:
        raise DataError(f"{where} cannot be read ({error.strerror or error}): check its permissions") from error


def _refuse(faults: Sequence[str], count: int) -> None:
    if faults:
        more = f" (and {len(faults) - _NAMED} more of {count})" if len(faults) > _NAMED else ""
        raise DataError("; ".join(faults[:_NAMED]) + more)
