"""What a name after `xpert image` stands for: pictures, a model, a start, a plan of a merge.

Knows folders and names, and calls what opens them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xpert.cli.sources import lasting_name, reading
from xpert.embedded import EMBEDDED_CLIPS, EMBEDDED_IMAGE_POOL, EMBEDDED_PIPELINES
from xpert.errors import SettingsError

if TYPE_CHECKING:
    from xpert.models.reference import ModelReference
    from xpert.records import Explanation, Picture, PicturePair
    from xpert.tuning.diffusion_settings import DiffusionSettings

Kind = Literal["model", "person", "pool"]
Progress = Callable[[str, int, int], None]
PACKAGED_PIPELINE = "xpert/diffusion"
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


def start_reference(
    base: str | None, start_from: Path | None, from_pool: str | None, pool: Path | None
) -> ModelReference:
    """The pipeline and the adapter that the options name.

    Raises:
        SettingsError: two starts.
        PoolError: no such pool, or no such model in it.
    """
    from xpert.models.reference import ModelReference

    if start_from is not None and from_pool is not None:
        raise SettingsError("--from and --from-pool name two starts: give one of them")
    if from_pool is not None:
        folder = pool or EMBEDDED_IMAGE_POOL
        with reading(folder) as opened:
            return ModelReference(base or base_of_pool(folder), str(opened.adapter_path(from_pool)))
    return ModelReference(base or PACKAGED_PIPELINE, None if start_from is None else str(start_from.expanduser()))


def base_of_pool(folder: Path) -> str:
    """The pipeline that a pool of image models is for."""
    from xpert.pool.setup import read_setup

    return read_setup(folder).base


@contextmanager
def person_pictures(
    data: str, columns: Mapping[str, Any], vision: str | None, samples: int, device: str, on_progress: Progress
) -> Iterator[list[Picture]]:
    """A person's pictures as files with captions, for the length of a block.

    Raises:
        DataError: they cannot be read.
    """
    from xpert.data.pictures import open_pictures
    from xpert.device.pictures import picture_files, with_captions

    opened = open_pictures(data, **columns, need_captions=vision is None, on_progress=on_progress)
    with picture_files(opened, limit=samples, fill=vision is not None) as pictures:
        yield with_captions(pictures, vision, device=device, on_progress=on_progress)


@contextmanager
def explained(
    target: str,
    pool: Path | None,
    base: str | None,
    encoder: str | None,
    captions: str | None,
    number: int,
    vision: str | None,
    samples: int,
    device: str,
    on_progress: Progress,
) -> Iterator[tuple[Kind, Explanation, Sequence[PicturePair]]]:
    """What a target is, its explanation, and the pairs that it was read from, whose files last as long as the block.

    Raises:
        SettingsError: it is no model, no name in the pool and no folder of pictures, or options do not go together.
    """
    from xpert.models.image_adapters import is_image_adapter

    folder = Path(target).expanduser()
    alone = [name for name, value in (("--encoder", encoder), ("--captions", captions)) if value is not None]
    if base is None and alone:
        raise SettingsError(f"{' and '.join(alone)} choose how a model is explained by itself: give --base too")
    if base is not None:
        if not is_image_adapter(folder):
            raise SettingsError(f"{target} is no LoRA, U-Net or pipeline folder: with --base a model is explained")
        explanation, pairs = alone_explained(
            folder, base, encoder=encoder, captions=captions, number=number, vision=vision, device=device,
            on_progress=on_progress,
        )  # fmt: skip
        yield "model", explanation, pairs
        return
    place = pool or EMBEDDED_IMAGE_POOL
    from xpert.opening import open_picture_explainer

    explainer = open_picture_explainer(place, device=device)
    if is_image_adapter(folder):
        explanation = explainer.explain_adapter(folder, on_progress=on_progress)
        yield "model", explanation, explainer.prober.adapter_pairs(folder)
    elif folder.exists():
        columns = {"image_column": "image", "caption_column": "text", "split": "train"}
        with person_pictures(target, columns, vision, samples, device, on_progress) as pictures:
            explanation = explainer.explain_pictures(pictures, on_progress=on_progress)
            yield "person", explanation, explainer.person_pairs(pictures)
    else:
        with reading(place) as opened:
            record, adapter = opened.get(target), opened.adapter_path(target)
        found = record.explanation or explainer.explain_adapter(adapter, on_progress=on_progress)
        yield "pool", found, explainer.prober.adapter_pairs(adapter, on_progress)


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
    from xpert.probing.pictures import PaintSettings, PictureProber, picture_folder
    from xpert.space.basis import E_DECOMP, E_ORTHO
    from xpert.summarizing.clip import ClipSummarizer, Proposer

    asked = captions_for(base, captions, number)
    usual = PaintSettings()
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


def merge_plan(
    parents: Sequence[str],
    for_pictures: str | None,
    most: int,
    pool: Path | None,
    base: str | None,
    vision: str | None,
    samples: int,
    device: str,
    columns: Mapping[str, Any],
    on_progress: Progress,
) -> tuple[dict[str, tuple[Path, float]], Path, str]:
    """Parents with their weights, the folder of the base, and its name.

    Raises:
        SettingsError: neither parents nor pictures, both, a weight that is no number, or nothing that fits.
    """
    from xpert.models.pipelines import resolve_pipeline

    if bool(parents) == (for_pictures is not None):
        raise SettingsError("give models with weights, such as red=0.6 striped=0.5, or --for PICTURES: one of the two")
    place = pool or EMBEDDED_IMAGE_POOL
    name = base or base_of_pool(place)
    folder = resolve_pipeline(name)
    with reading(place) as opened:
        if for_pictures is None:
            weights = dict(_weighed(text) for text in parents)
        else:
            from xpert.device.pictures import select_for_pictures
            from xpert.merging.weights import combine
            from xpert.opening import open_picture_explainer

            explainer = open_picture_explainer(place, device=device)
            with person_pictures(for_pictures, columns, vision, samples, device, on_progress) as pictures:
                selection = select_for_pictures(pictures, opened, explainer, on_progress=on_progress)
            weights = combine(selection.person, opened.list(), most=most).weights
            if not weights:
                raise SettingsError(
                    f"nothing in {place} lies nearer to these pictures than the base: start from the base"
                )
        plan = {
            parent: (Path(parent).expanduser() if Path(parent).is_dir() else opened.adapter_path(parent), weight)
            for parent, weight in weights.items()
        }
    return plan, folder, lasting_name(name)


def _weighed(text: str) -> tuple[str, float]:
    name, mark, number = text.rpartition("=")
    try:
        if not (name and mark):
            raise ValueError
        return name, float(number)
    except ValueError:
        raise SettingsError(f"{text!r} names no model with a weight: write NAME=WEIGHT, such as red=0.6") from None
