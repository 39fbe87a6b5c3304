"""A person's pictures with their captions, checked before any work is done.

Knows rows and their columns; does not know models, sizes that they want, or how pictures are cropped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from PIL import Image

from xpert.data.contents import kind_of
from xpert.data.decoding import decode_picture
from xpert.data.picture_folders import METADATA
from xpert.data.picture_sources import PictureRows, open_source
from xpert.data.picture_store import PictureStore
from xpert.errors import DataError
from xpert.printing import printable

Caption = str | list[str] | None
OnProgress = Callable[[str, int, int], None]

STAGE = "checking pictures"
_WORKERS = 8
_NAMED = 3
_SHOWN = 80


class PictureSet:
    """Pictures that were all decoded once, and their captions.

    Attributes:
        digest: SHA-256 over the encoded bytes of all pictures and their captions, in order.

    Args:
        source: what they were opened from, for errors.
        store: the pictures, not decoded.
        captions: one entry a picture.
        on_progress: told of the check, picture by picture.

    Raises:
        DataError: pictures that cannot be used; the first few are named, with the way out.
    """

    def __init__(
        self, source: str, store: PictureStore, captions: Sequence[Caption], on_progress: OnProgress | None
    ) -> None:
        self._source, self._store, self._captions = source, store, list(captions)
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
        return self._store.name(index) or f"row {index + 1}"

    def picture(self, index: int) -> Image.Image:
        """The picture in RGB, upright, alpha laid over white.

        Raises:
            DataError: it was changed or removed since it was checked.
        """
        return self._decoded(index)[0]

    def _decoded(self, index: int) -> tuple[Image.Image, str]:
        """A picture and the SHA-256 of its encoded bytes."""
        file = self._store.name(index)
        where = f"{self._source}, row {index + 1}" + (f" ({file})" if file else "")
        content = self._store.read(index, where)
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
    with open_source(source, split) as opened:
        if image_column not in opened.names:
            raise DataError(
                f"{source} has no column {image_column!r} of pictures; found {_listed(opened.names)}: name it with "
                "--image-column (image_column in Python), or give a folder of pictures"
            )
        if not opened.holds_pictures(image_column):
            raise DataError(
                f"{source}: column {image_column!r} holds other values, not pictures: name the right one with "
                "--image-column (image_column in Python)"
            )
        if need_captions and caption_column not in opened.names:
            raise DataError(
                f"{source} has no captions: no column {caption_column!r}; found {_listed(opened.names)}: name it with "
                f"--caption-column (caption_column in Python), or put captions beside the pictures in {METADATA}; "
                "where pictures are explained, selected or merged for, --vision MODEL writes them"
            )
        store, captions = _gathered(source, opened, image_column, caption_column, most, need_captions)
    if not captions:
        raise DataError(f"{source} holds no pictures: give at least one")
    return PictureSet(source, store, captions, on_progress)


def _gathered(
    source: str, opened: PictureRows, image_column: str, caption_column: str, most: int | None, needed: bool
) -> tuple[PictureStore, list[Caption]]:
    """The pictures and captions of the first rows."""
    store, captions, faults = PictureStore(), [], list[str]()
    for number, row in enumerate(islice(opened.rows([image_column, caption_column]), most), start=1):
        store.add(row.values.get(image_column), opened.read_file, lasting=opened.lasting)
        value = row.values.get(caption_column)
        caption, fault = _caption(value, needed)
        captions.append(caption)
        if fault is not None:
            faults.append(f"{source}, row {number}: {fault.format(column=repr(caption_column))}")
    _refuse(faults, len(captions))
    return store, captions


def _caption(value: Any, needed: bool) -> tuple[Caption, str | None]:
    """A caption, and what is wrong with it."""
    texts = value if isinstance(value, list) else [value]
    wrong = next((text for text in texts if not isinstance(text, str | None)), None)
    kept = [text for text in texts if isinstance(text, str) and text.strip()]
    caption: Caption = (kept if isinstance(value, list) else kept[0]) if kept else None
    if wrong is not None:
        return caption, f"{{column}} is {kind_of(wrong)}, not text: write captions as text"
    if needed and (not kept or len(kept) < len(texts)):
        return caption, "the caption in {column} is empty: fill it in or delete the row"
    return caption, None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(printable(name, _SHOWN)) for name in names) or "none"


def _refuse(faults: Sequence[str], count: int) -> None:
    if faults:
        more = f" (and {len(faults) - _NAMED} more of {count})" if len(faults) > _NAMED else ""
        raise DataError("; ".join(faults[:_NAMED]) + more)
