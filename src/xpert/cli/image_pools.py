"""What `xpert pool` needs to know of pools of image models: whether it is one, and what reindexing changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpert.cli.sources import base_of, lasting_name
from xpert.embedded import EMBEDDED_PIPELINES
from xpert.errors import SettingsError

if TYPE_CHECKING:
    from xpert.pool import Pool
    from xpert.pool.setup import PoolSetup


@dataclass(frozen=True)
class PictureOptions:
    """Options of `xpert pool reindex` for image models; what is None stays as it is.

    Args:
        clip: the CLIP that reads pictures.
        captions: source of the captions that are painted.
        num_sample: so many of the first.
        steps, guidance: how they are painted.
        vision: the vision-language model that proposes words; "none": a vocabulary does.
    """

    clip: str | None = None
    captions: str | None = None
    num_sample: int | None = None
    steps: int | None = None
    guidance: float | None = None
    vision: str | None = None


def of_pictures(pool: Pool, base: str | None = None) -> bool:
    """Whether a pool is of image models: by its setup, else by its models, else by the base it is to have."""
    from xpert.models.image_adapters import is_image_adapter
    from xpert.models.pipelines import is_pipeline

    if pool.has_space:
        return pool.setup.pictures is not None
    if records := pool.list():
        return is_image_adapter(pool.adapter_path(records[0].name))
    return base is not None and (base in EMBEDDED_PIPELINES or is_pipeline(Path(base).expanduser()))


def refuse_other_kind(pictures: bool, texts_only: Mapping[str, object], pictures_only: Mapping[str, object]) -> None:
    """Refuse options of the other kind of pool.

    Raises:
        SettingsError: one of them was given.
    """
    wrong = [name for name, value in (texts_only if pictures else pictures_only).items() if value is not None]
    if wrong:
        this, other = ("image", "language") if pictures else ("language", "image")
        given = " and ".join("--" + name.replace("_", "-") for name in wrong)
        raise SettingsError(f"{given} is for pools of {other} models, and this one is of {this} models: leave it out")


def picture_setup(pool: Pool, base: str | None, options: PictureOptions) -> PoolSetup:
    """The setup of a pool of image models with what the options change; all else stays.

    Raises:
        SettingsError: a pool without a space, and no base or CLIP.
        DataError: no such captions, or fewer than are wanted.
    """
    from xpert.errors import DataError
    from xpert.pool.setup import PictureSetup, PoolSetup
    from xpert.probing.captions import captions_for
    from xpert.probing.pictures import usual_settings

    known = pool.setup if pool.has_space else None
    old = known.pictures if known else None
    named = base_of(pool)
    model = lasting_name(base) if base is not None else named.model if named else None
    reader = lasting_name(options.clip) if options.clip is not None else known.summarizer if known else None
    if model is None or reader is None:
        raise SettingsError("this pool of image models has no space yet: give --base PIPELINE and --clip MODEL")
    if old is None or options.captions is not None:
        asked = captions_for(model, options.captions, options.num_sample)
    else:
        asked = old.captions[: options.num_sample]
        if options.num_sample is not None and len(asked) < options.num_sample:
            raise DataError(
                f"the pool paints {len(asked)} captions, {options.num_sample} are wanted: give a smaller --num-sample, "
                "or more with --captions"
            )
    changed: dict[str, Any] = {"captions": asked}
    if options.steps is not None:
        changed["steps"] = options.steps
    if options.guidance is not None:
        changed["guidance_scale"] = options.guidance
    if options.vision is not None:
        changed["vision"] = None if options.vision == "none" else lasting_name(options.vision)
    if old is None:
        usual = usual_settings(model)
        pictures = PictureSetup(**({"steps": usual.steps, "guidance_scale": usual.guidance_scale} | changed))
    else:
        pictures = old.model_copy(update=changed)
    if known is None:
        return PoolSetup(
            base=model, summarizer_kind="clip", summarizer=reader, rewriter="base", exact_words=0, pictures=pictures
        )
    revision = known.base_revision if model == known.base else None
    return known.model_copy(
        update={"base": model, "base_revision": revision, "summarizer": reader, "pictures": pictures}
    )
