"""What the target of `xpert image explain` is, and its explanation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xpert.cli.image_sources import PersonOptions, alone_explained, image_pool, person_pictures
from xpert.cli.sources import Progress, reading, refuse_given
from xpert.errors import SettingsError

if TYPE_CHECKING:
    from xpert.records import Explanation, PicturePair

Kind = Literal["model", "person", "pool"]
USUAL_CAPTIONS = 50


@dataclass(frozen=True)
class AloneOptions:
    """How a model is explained by itself; without `base` it is not.

    Args:
        base: its base pipeline.
        encoder: the CLIP that reads pictures.
        captions: what is painted.
        number: captions at most.
    """

    base: str | None = None
    encoder: str | None = None
    captions: str | None = None
    number: int | None = None


@dataclass(frozen=True)
class Explained:
    """An explanation, and what it was read from.

    Attributes:
        kind: of the target.
        explanation: of it.
        pairs: gives the pairs of pictures; paints what is not there yet.
    """

    kind: Kind
    explanation: Explanation
    pairs: Callable[[], Sequence[PicturePair]]


@contextmanager
def explained(
    target: str, pool: Path | None, alone: AloneOptions, person: PersonOptions, on_progress: Progress
) -> Iterator[Explained]:
    """A target's explanation; files of its pairs last as long as the block.

    Raises:
        SettingsError: it is no model, no name in the pool and no pictures, or options do not go together.
        PoolError: no such pool, or no such model in it.
    """
    from xpert.cli.converting import opened_adapter
    from xpert.models.image_adapters import is_image_adapter

    folder = opened_adapter(Path(target))
    if alone.base is not None:
        if not is_image_adapter(folder):
            raise SettingsError(f"{target} is no LoRA, U-Net or pipeline folder: with --base a model is explained")
        yield _alone(folder, alone, person, on_progress)
        return
    given = {"encoder": alone.encoder, "captions": alone.captions, "num_sample": alone.number}
    refuse_given(given, "it says how a model is explained by itself: give --base too")
    place = image_pool(pool)
    if is_image_adapter(folder):
        person.refuse(f"{target} is a model: leave it out")
        from xpert.opening import open_picture_explainer

        explainer = open_picture_explainer(place, device=person.device)
        explanation = explainer.explain_adapter(folder, on_progress=on_progress)
        yield Explained("model", explanation, lambda: explainer.prober.adapter_pairs(folder, on_progress))
    elif folder.exists() or "/" in target:
        from xpert.opening import open_picture_explainer

        explainer = open_picture_explainer(place, device=person.device)
        with person_pictures(target, person, on_progress) as pictures:
            explanation = explainer.explain_pictures(pictures, on_progress=on_progress)
            yield Explained("person", explanation, lambda: explainer.person_pairs(pictures))
    else:
        yield _of_pool(target, place, person, on_progress)


def _alone(folder: Path, alone: AloneOptions, person: PersonOptions, on_progress: Progress) -> Explained:
    """A model by itself."""
    assert alone.base is not None
    read = PersonOptions(person.columns, samples=person.samples)  # --vision proposes words here
    read.refuse("with --base no person's pictures are read: leave it out")
    explanation, pairs = alone_explained(
        folder,
        alone.base,
        encoder=alone.encoder,
        captions=alone.captions,
        number=alone.number or _usual_number(alone.base, alone.captions),
        vision=person.vision,
        device=person.device,
        on_progress=on_progress,
    )
    return Explained("model", explanation, lambda: pairs)


def _usual_number(base: str, captions: str | None) -> int:
    """How many captions are painted where nobody says: 50, or all of a shorter list."""
    from xpert.probing.captions import captions_for

    if captions is not None and not Path(captions).expanduser().is_file():
        return USUAL_CAPTIONS
    return min(USUAL_CAPTIONS, len(captions_for(base, captions)))


def _of_pool(name: str, place: Path, person: PersonOptions, on_progress: Progress) -> Explained:
    """A model of the pool: its stored explanation, where it has one."""
    with reading(place) as opened:
        record, adapter = opened.get(name), opened.adapter_path(name)
        person.refuse(f"{name} is a model of the pool: leave it out")
        pictures = opened.setup.pictures
    if pictures is None:
        raise SettingsError(f"{place} is a pool of language models: use `xpert explain`, or give another --pool")

    def pairs() -> Sequence[PicturePair]:
        from xpert.opening import open_picture_explainer

        return open_picture_explainer(place, device=person.device).prober.adapter_pairs(adapter, on_progress)

    if record.explanation is not None:
        return Explained("pool", record.explanation, pairs)
    from xpert.opening import open_picture_explainer

    explainer = open_picture_explainer(place, device=person.device)
    return Explained("pool", explainer.explain_adapter(adapter, on_progress=on_progress), pairs)
