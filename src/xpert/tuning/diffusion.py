"""A person's pictures in, a plain diffusers folder out.

Tells the story of a run; the parts are in `diffusion_start`, `picture_batches`, `conditioning`, `latents`,
`diffusion_batches`, `diffusion_objective`, `diffusion_loop`, `diffusion_painting`, `diffusion_output` and
`diffusion_card`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xpert.data.pictures import PictureSet
from xpert.errors import ModelError
from xpert.models.folders import check_free
from xpert.models.pipelines import check_pipeline
from xpert.models.reference import ModelReference, shared_name
from xpert.tuning import checkpoint
from xpert.tuning.conditioning import Captions
from xpert.tuning.diffusion_batches import BatchSource, caption_of
from xpert.tuning.diffusion_card import DiffusionFacts, write_diffusion_card
from xpert.tuning.diffusion_loop import DiffusionStep, DiffusionTrainer
from xpert.tuning.diffusion_objective import training_scheduler
from xpert.tuning.diffusion_output import publish_folder, write_lora, write_pipeline
from xpert.tuning.diffusion_painting import FOLDER, ValidationPainter
from xpert.tuning.diffusion_settings import DiffusionSettings, Method
from xpert.tuning.diffusion_start import Start, check_start
from xpert.tuning.latents import Latents, check_pictures
from xpert.tuning.picture_batches import PicturePlan
from xpert.tuning.processes import open_accelerator, run_device
from xpert.tuning.publish import check_finite

OnProgress = Callable[[str, int, int], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DiffusionResult:
    """What a run did.

    Attributes:
        out: a pipeline's folder (method full), or a folder with LoRA weights.
        method: "full" or "lora".
        steps: optimizer steps taken.
        pictures: number of pictures.
        samples_seen: different pictures that were learned from.
        seconds: wall time of the steps (loading and encoding ahead are not in it), interrupted parts included.
        cpu_seconds: processor time of the same.
        train_losses: one a step.
        resolution: side of what was learned from, in pixels.
        notes: what a person should know, such as captions that were cut.
    """

    out: Path
    method: Method
    steps: int
    pictures: int
    samples_seen: int
    seconds: float
    cpu_seconds: float
    train_losses: list[float]
    resolution: int
    notes: tuple[str, ...]


def tune_diffusion(
    reference: ModelReference,
    pictures: PictureSet,
    out: Path,
    settings: DiffusionSettings,
    *,
    on_step: Callable[[DiffusionStep], None] | None = None,
    on_progress: OnProgress | None = None,
    device: str = "auto",
    fresh: bool = False,
) -> DiffusionResult:
    """Tune the U-Net of a Stable Diffusion 1.x, 2.x or XL pipeline on pictures, whole or by LoRA.

    The loss is that of `DiffusionLoss`. Captions, and pictures whose crop does not move, are encoded once, ahead of
    the first step; the text encoders and, where it is not needed again, the VAE are gone before the U-Net is loaded. A
    run that was interrupted lies in `<out>.partial`; the same call resumes it, step for step as if it had
    never stopped. Under `accelerate launch` its processes share every step.

    Args:
        reference: the pipeline. With a LoRA as adapter, method lora continues it with its own rank and layers, and
            method full starts from the U-Net that it makes; with a U-Net as adapter, method full starts from that.
        pictures: at least one, with captions.
        out: folder for the outcome; must not exist, or be empty. Opens with `from_pretrained` (full) or
            `load_lora_weights` (lora) of diffusers.
        settings: of the run.
        on_step: told of every step; an exception in it ends the run, KeyboardInterrupt with a checkpoint.
        on_progress: told (stage, done, total) of what is encoded ahead.
        device: auto, cpu, cuda, ...
        fresh: throw away an unfinished run of `out` first.

    Raises:
        SettingsError: `out` is taken, a resolution or layers that do not fit, or an unfinished run in the way that
            had other settings or pictures.
        DataError: no pictures, one without a caption, or one that is far too narrow.
        ModelError: the loss is not finite; nothing is written.
        MissingModelError, DamagedModelError, MismatchError: the pipeline or the adapter cannot be used.
    """
    out = Path(out)
    partial = checkpoint.partial_folder(out)
    check_free(out)
    accelerator = open_accelerator()
    chosen = run_device(accelerator, device)
    start = check_start(reference, settings, chosen)
    check_pictures(pictures, start.resolution)
    if fresh and accelerator.is_main_process:
        checkpoint.discard(partial)
    accelerator.wait_for_everyone()
    plan = PicturePlan(len(pictures), settings, accelerator.num_processes)
    run = _Run(start, pictures, plan, settings, accelerator, chosen, partial)
    encoded = _encoded(run, on_progress)
    notes = _notes(run, encoded.captions)
    try:
        unet = start.unet(settings).to(chosen)
        trainer = _trainer(run, encoded, unet, on_step)
        del encoded.parts
        _take_steps(run, trainer, unet)
    finally:
        encoded.latents.close()
    if accelerator.is_main_process:
        card = write_diffusion_card(_facts(run, reference, unet, trainer, out), settings)
        publish_folder(out, lambda folder: _write(run, unet, folder), card, partial / FOLDER)
        checkpoint.discard(partial)
    accelerator.wait_for_everyone()
    return _result(run, trainer, out, notes)


@dataclass(frozen=True, slots=True)
class _Run:
    """What stays the same from a run's first line to its last."""

    start: Start
    pictures: PictureSet
    plan: PicturePlan
    settings: DiffusionSettings
    accelerator: Any
    device: torch.device
    partial: Path


@dataclass
class _Encoded:
    """What was encoded ahead, and the pipeline of scheduler and, only if it is needed again, VAE."""

    captions: Captions
    latents: Latents
    parts: Any


def _encoded(run: _Run, on_progress: OnProgress | None) -> _Encoded:
    start, settings, pictures = run.start, run.settings, run.pictures
    budget = settings.cache_latents_mib * 2**20
    captions = Captions(start.texts(), run.device, budget)
    prompts = [*settings.validation_prompts, *([""] if settings.validation_prompts else [])]
    captions.prepare([*prompts, *(caption_of(pictures, choice) for choice in run.plan.choices())], on_progress)
    parts = start.vae()
    latents = Latents(
        parts.vae,
        pictures,
        resolution=start.resolution,
        center=settings.center_crop,
        device=run.device,
        budget_bytes=budget,
    )
    try:
        latents.prepare(run.plan.choices(), keep_vae=bool(settings.validation_prompts), on_progress=on_progress)
    except BaseException:
        latents.close()
        raise
    if latents.is_complete:
        parts.register_modules(vae=None)
    if run.device.type == "cuda":
        torch.cuda.empty_cache()
    return _Encoded(captions, latents, parts)


def _trainer(
    run: _Run, encoded: _Encoded, unet: Any, on_step: Callable[[DiffusionStep], None] | None
) -> DiffusionTrainer:
    """The trainer of a run, where it was cut off."""
    settings, accelerator = run.settings, run.accelerator
    captions, latents = encoded.captions, encoded.latents
    scheduler = training_scheduler(encoded.parts.scheduler, settings)
    timesteps = int(scheduler.config.num_train_timesteps)
    process = accelerator.process_index
    paint = None
    if settings.validation_prompts and accelerator.is_main_process:
        paint = ValidationPainter(
            encoded.parts, unet, captions, latents, settings, folder=run.partial, device=run.device
        )
    trainer = DiffusionTrainer(
        unet,
        BatchSource(run.pictures, run.plan, latents, captions, settings, timesteps=timesteps, process=process),
        scheduler,
        accelerator=accelerator,
        device=run.device,
        half=run.start.half,
        settings=settings,
        steps=run.plan.steps,
        folder=run.partial,
        identity={
            "settings": settings.digest(),
            "pictures": run.pictures.digest,
            "base or adapter": "/".join((run.start.digest, *run.start.parents)),
            "number of processes": str(accelerator.num_processes),
        },
        pictures_seen=run.plan.pictures_seen,
        on_step=on_step,
        paint=paint,
    )
    if not trainer.resume() and accelerator.is_main_process:
        checkpoint.discard(run.partial / FOLDER)  # of a run that was lost before its first checkpoint
    return trainer


def _take_steps(run: _Run, trainer: DiffusionTrainer, unet: Any) -> None:
    try:
        trainer.run()
        check_finite(unet)
    except ModelError as error:
        if run.accelerator.is_main_process:
            checkpoint.forget(run.partial)  # it would diverge again
            if run.partial.is_dir() and not any(run.partial.iterdir()):
                run.partial.rmdir()
        raise ModelError(f"{error}; nothing was written") from error


def _write(run: _Run, unet: Any, folder: Path) -> None:
    if run.settings.method == "full":
        write_pipeline(run.start.folder, unet, folder, run.settings.prediction_type)
    else:
        write_lora(run.start.folder, unet, folder)


def _notes(run: _Run, captions: Captions) -> tuple[str, ...]:
    precision, resolution, notes = run.settings.mixed_precision, run.start.resolution, []
    if precision != "no" and run.start.half is None:
        notes.append(
            f"computed in fp32: mixed_precision {precision} is used on CUDA only, elsewhere fp32 is no worse and "
            "mostly faster"
        )
    if captions.cut:
        notes.append(f"{captions.cut} captions are longer than the text encoder reads, and were cut")
    small = sum(min(run.pictures.size(index)) < resolution for index in range(len(run.pictures)))
    if small:
        notes.append(f"{small} pictures are smaller than {resolution} pixels, and were scaled up")
    for note in notes:
        _log.info(note)
    return tuple(notes)


def _facts(run: _Run, reference: ModelReference, unet: Any, trainer: DiffusionTrainer, out: Path) -> DiffusionFacts:
    lora = next(iter(getattr(unet, "peft_config", {}).values()), None)
    half = run.start.half
    return DiffusionFacts(
        name=out.name,
        base_name=shared_name(reference.model),
        base_sha256=run.start.digest,
        pipeline=check_pipeline(run.start.folder),
        parents=run.start.parents,
        pictures=len(run.pictures),
        steps=trainer.progress.step,
        samples=run.plan.samples_a_step,
        losses=trainer.progress.train_losses,
        resolution=run.start.resolution,
        rank=0 if lora is None else lora.r,
        alpha=0 if lora is None else lora.lora_alpha,
        layers=() if lora is None else tuple(sorted(lora.target_modules)),
        precision="fp32" if half is None else f"{str(half).removeprefix('torch.')} products, fp32 weights",
    )


def _result(run: _Run, trainer: DiffusionTrainer, out: Path, notes: tuple[str, ...]) -> DiffusionResult:
    progress = trainer.progress
    return DiffusionResult(
        out=out,
        method=run.settings.method,
        steps=progress.step,
        pictures=len(run.pictures),
        samples_seen=run.plan.pictures_seen(progress.step),
        seconds=progress.seconds,
        cpu_seconds=progress.cpu_seconds,
        train_losses=list(progress.train_losses),
        resolution=run.start.resolution,
        notes=notes,
    )
