"""What a name after `xpert image` stands for: pictures, a start, a model to be explained by itself.

Knows folders and names, and calls what opens them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpert.cli.commands import command_line
from xpert.cli.image_options import PICTURES
from xpert.cli.sources import Progress, base_of, lasting_name, reading, refuse_given
from xpert.embedded import EMBEDDED_CLIPS, EMBEDDED_IMAGE_POOL, EMBEDDED_PIPELINES
from xpert.errors import PoolError, SettingsError, StorageError

if TYPE_CHECKING:
    from xpert.models.reference import ModelReference
    from xpert.records import Explanation, Picture, PicturePair
    from xpert.tuning.diffusion_settings import DiffusionSettings

PACKAGED_PIPELINE = "xpert/diffusion"
_BASE_MODEL = re.compile(r"""^base_model:\s*["']?([\w.-]+/[\w.-]+)["']?\s*$""", re.MULTILINE)
_CARD_CAP_BYTES = 2**16
PAPER_CLIP = "openai/clip-vit-base-patch32"
DOCUMENTED_BASE = "stabilityai/stable-diffusion-2-1-base"
"""What the paper's scripts name; it was taken off the hub in late 2025."""
LIVING_BASE = "stable-diffusion-v1-5/stable-diffusion-v1-5"


def encoder_for(base: str) -> str:
    """The CLIP that reads a base's pictures where none is named: the package's own for its own pipeline."""
    packaged = base in EMBEDDED_PIPELINES or Path(base).resolve() in {p.resolve() for p in EMBEDDED_PIPELINES.values()}
    return next(iter(EMBEDDED_CLIPS)) if packaged else PAPER_CLIP


def present_pipeline(model: str, revision: str | None, option: str) -> None:
    """See that a pipeline is here or can be had, before any other work.

    Raises:
        MissingModelError, DamagedModelError: it cannot; of the documented base the text names another one.
    """
    from xpert.errors import MissingModelError
    from xpert.models.pipelines import resolve_pipeline

    try:
        resolve_pipeline(model, revision)
    except MissingModelError as error:
        if model != DOCUMENTED_BASE:
            raise
        raise MissingModelError(f"{error}; this one was taken off the hub: give {option}={LIVING_BASE}") from error


def diffusion_settings(given: Mapping[str, Any]) -> DiffusionSettings:
    """Settings from the options that were given.

    Raises:
        SettingsError: at least one value breaks its rule.
    """
    from xpert.tuning.diffusion_settings import DiffusionSettings

    return DiffusionSettings(**{name: value for name, value in given.items() if value is not None})


def image_pool(pool: Path | None) -> Path:
    """The folder of a pool of image models: the given one, or that of the package."""
    return EMBEDDED_IMAGE_POOL if pool is None else pool.expanduser()


def carded_base(adapter: Path) -> str | None:
    """The hub name that an adapter's card gives as its base, whoever wrote it; None where it gives none."""
    from xpert.models.cards import CARD

    card = adapter / CARD
    if not card.is_file():
        return None
    with card.open("rb") as stream:
        found = _BASE_MODEL.search(stream.read(_CARD_CAP_BYTES).decode("utf-8", "replace"))
    return None if found is None else found[1]


def start_reference(
    base: str | None, start_from: Path | None, from_pool: str | None, pool: Path | None, *, ask: bool = True
) -> ModelReference:
    """The pipeline and the adapter that the options name.

    The pipeline is the given one, else the one that the adapter's card has by its digest, the pool's, one that the
    card names and the person agreed to, the package's.

    Raises:
        SettingsError: two starts, a start that is no adapter folder, or one that names a base that nobody chose.
        PoolError: no such pool, or no such model in it.
    """
    from xpert.models.reference import ModelReference

    packaged = ModelReference(PACKAGED_PIPELINE)
    if start_from is not None and from_pool is not None:
        raise SettingsError("--from and --from-pool name two starts: give one of them")
    if from_pool is not None:
        with reading(image_pool(pool)) as opened:
            named = base_of(opened, from_pool) if base is None else ModelReference(base)
            return replace(named or packaged, adapter=str(opened.adapter_path(from_pool)))
    named, adapter = None if base is None else ModelReference(base), None
    if start_from is not None:
        from xpert.cli.bases import image_base_for

        folder = image_adapter_folder(start_from)
        named, adapter = image_base_for(folder, base, pool, ask=ask), str(folder)
    if named is None and pool is not None:
        with reading(image_pool(pool)) as opened:
            named = base_of(opened)
    return replace(named or packaged, adapter=adapter)


def image_adapter_folder(folder: Path) -> Path:
    """A folder that was named as one of a LoRA, a U-Net or a pipeline.

    Raises:
        SettingsError: it is none.
    """
    from xpert.cli.converting import opened_adapter
    from xpert.models.image_adapters import is_image_adapter

    folder = opened_adapter(folder)
    if not is_image_adapter(folder):
        raise SettingsError(f"{folder} holds no LoRA, U-Net or pipeline: give a folder that diffusers wrote")
    return folder


def next_command(out: Path, base: str, pool: Path | None) -> str:
    """What explains a model of `base`: in the words of the pool where it is for that base, else by itself."""
    with suppress(PoolError, StorageError), reading(image_pool(pool)) as opened:  # no pool was needed until now
        if opened.has_space and opened.setup.base == lasting_name(base):
            return command_line("image", "explain", out, pool=pool)
    return command_line("image", "explain", out, base=base)


@dataclass(frozen=True)
class PersonOptions:
    """How a person's pictures are read.

    Args:
        columns: of pictures and captions, and the split, as `open_pictures` has them.
        vision: the vision-language model that writes missing captions; None: captions are needed.
        samples: pictures at most.
        device: where models run.
    """

    columns: Mapping[str, Any]
    vision: str | None = None
    samples: int | None = None
    device: str = "auto"

    def refuse(self, why: str) -> None:
        """Refuse what was given of it where nobody's pictures are read.

        Raises:
            SettingsError: something was.
        """
        usual = {name: default for name, (_, default) in PICTURES.items()}
        given = {"vision": self.vision, "samples": self.samples}
        given |= {name: value for name, value in self.columns.items() if value != usual[name]}
        refuse_given(given, why)


def given_here(pool: Path | None) -> Path | None:
    """A pool that was named on the command line, and not by the environment."""
    return None if pool is None or str(pool) == os.environ.get("XPERT_IMAGE_POOL") else pool


@contextmanager
def person_pictures(data: str, options: PersonOptions, on_progress: Progress) -> Iterator[list[Picture]]:
    """A person's pictures as files with captions, for the length of a block.

    Raises:
        DataError: they cannot be read.
    """
    from xpert.data.pictures import open_pictures
    from xpert.device.pictures import picture_files, with_captions
    from xpert.explainer import PERSON_SAMPLES

    opened = open_pictures(data, **options.columns, need_captions=options.vision is None, on_progress=on_progress)
    with picture_files(opened, limit=options.samples or PERSON_SAMPLES, fill=options.vision is not None) as pictures:
        yield with_captions(pictures, options.vision, device=options.device, on_progress=on_progress)


def alone_explained(
    folder: Path,
    base: str,
    *,
    encoder: str | None = None,
    captions: str | None = None,
    number: int | None = 50,
    vision: str | None = None,
    vocabulary: tuple[str, ...] | None = None,
    e_ortho: float | None = None,
    e_decomp: float | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    kept_in: Path | None = None,
    device: str = "auto",
    on_progress: Progress | None = None,
) -> tuple[Explanation, Sequence[PicturePair]]:
    """Explain a personalized model by itself; also the pairs of pictures."""
    from xpert.building import explain_alone
    from xpert.models.reference import ModelReference
    from xpert.probing.captions import captions_for
    from xpert.probing.pictures import PaintSettings, PictureProber, picture_folder, usual_settings
    from xpert.space.basis import E_DECOMP, E_ORTHO
    from xpert.summarizing.clip import ClipSummarizer, Proposer

    asked = captions_for(base, captions, number)
    usual = usual_settings(base)
    settings = PaintSettings(steps or usual.steps, usual.guidance_scale if guidance_scale is None else guidance_scale)
    prober = PictureProber(ModelReference(base), asked, settings, kept_in or picture_folder(), device=device)
    prober.check(folder)
    proposer: Proposer | None = None
    if vision is not None:
        from xpert.summarizing.vision import VisionModel

        proposer = VisionModel(vision, device=device)
    clip = ClipSummarizer(encoder or encoder_for(base), asked, vocabulary, proposer, device=device)
    explanation = explain_alone(
        prober,
        clip,
        folder,
        e_ortho=E_ORTHO if e_ortho is None else e_ortho,
        e_decomp=E_DECOMP if e_decomp is None else e_decomp,
        on_progress=on_progress,
    )
    if proposer is not None:
        proposer.close()
    return explanation, prober.adapter_pairs(folder)
