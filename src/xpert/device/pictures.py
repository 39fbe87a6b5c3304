"""A person's pictures on their device: explained, and compared with a pool of image models.

The pictures are read into a folder that is gone when the work is done; nothing of them leaves the device.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xpert.data.pictures import PictureSet
from xpert.explainer import PERSON_SAMPLES, PictureExplainer
from xpert.models.generation import Progress
from xpert.pool.pool import Pool
from xpert.probing.painted import save_picture
from xpert.records import Picture, Selection
from xpert.selecting import select

_MOST_SIDE = 1024


@contextmanager
def picture_files(
    pictures: PictureSet, *, limit: int = PERSON_SAMPLES, seed: int = 0, fill: bool = False
) -> Iterator[list[Picture]]:
    """At most `limit` pictures, drawn by seed, as PNG files of at most 1024 pixels a side, for the length of a block.

    Drawn are pictures with a caption, where there are any; of several captions the first is taken.

    Args:
        pictures: a person's.
        limit: at most so many.
        seed: of the draw.
        fill: where too few have a caption, others fill up: something will write theirs.
    """
    captioned = [i for i in range(len(pictures)) if pictures.caption(i)]
    drawn_from, chance = captioned or list(range(len(pictures))), random.Random(seed)
    drawn = chance.sample(drawn_from, min(limit, len(drawn_from)))
    if fill:
        others = sorted(set(range(len(pictures))) - set(drawn_from))
        drawn += chance.sample(others, min(limit - len(drawn), len(others)))
    drawn.sort()
    with tempfile.TemporaryDirectory(prefix="xpert-pictures-") as name:
        kept = []
        for number, index in enumerate(drawn):
            picture, file = pictures.picture(index), Path(name) / f"{number:04d}.png"
            picture.thumbnail((_MOST_SIDE, _MOST_SIDE))
            save_picture(picture, file)
            caption = pictures.caption(index)
            kept.append(Picture(caption[0] if isinstance(caption, list) else caption, file))
        yield kept


def with_captions(
    pictures: Sequence[Picture], vision: str | None, *, device: str = "auto", on_progress: Progress | None = None
) -> list[Picture]:
    """Pictures that all have a caption: their own, or that of a vision-language model where one is named.

    Raises:
        MissingModelError, DamagedModelError: the vision-language model cannot be used.
    """
    bare = [i for i, picture in enumerate(pictures) if not picture.caption]
    whole = list(pictures)
    if bare and vision is not None:
        from xpert.summarizing.vision import VisionModel

        model = VisionModel(vision, device=device)
        try:
            written = model.caption([pictures[i].file for i in bare], on_progress=on_progress)
        finally:
            model.close()
        for i, caption in zip(bare, written, strict=True):
            whole[i] = Picture(caption, pictures[i].file)
    return whole


def select_for_pictures(
    pictures: Sequence[Picture], pool: Pool, explainer: PictureExplainer, *, on_progress: Progress | None = None
) -> Selection:
    """Explain a person's pictures and choose from a pool of image models; no candidate is loaded or run."""
    person = explainer.explain_pictures(pictures, on_progress=on_progress)
    return select(person, pool.list())
