"""What a run on pictures starts from: a pipeline's parts, one after the other, and the U-Net with what is trained.

Knows references, pipelines, peft and settings; never sees pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xpert.errors import DamagedModelError, SettingsError
from xpert.models.headers import strict_json
from xpert.models.image_adapters import (
    ImageAdapterFacts,
    attach_image_adapter,
    check_image_fit,
    inspect_image_adapter,
)
from xpert.models.known_bases import remember_base
from xpert.models.pipelines import check_pipeline, pipeline_digest, read_pipeline, resolve_pipeline
from xpert.models.reference import ModelReference
from xpert.tuning.diffusion_settings import DiffusionSettings

_TEXT_PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
_HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}
FRESH = "default"


@dataclass(frozen=True, slots=True)
class Start:
    """A checked pipeline folder, and what is to be put on its U-Net.

    Attributes:
        folder: of the pipeline.
        digest: of its files.
        facts: of the adapter that is continued; None: from the pipeline's own U-Net.
        resolution: side of the pictures that are learned from, in pixels.
        is_xl: whether it is a Stable Diffusion XL pipeline.
        half: what products are computed in; None: fp32.
    """

    folder: Path
    digest: str
    facts: ImageAdapterFacts | None
    resolution: int
    is_xl: bool
    half: torch.dtype | None

    @property
    def parents(self) -> tuple[str, ...]:
        """Digests of the adapters that are continued."""
        return () if self.facts is None else (self.facts.digest,)

    def texts(self) -> Any:
        """A pipeline of tokenizers and text encoders only."""
        return read_pipeline(self.folder, self.half or torch.float32, unet=None, vae=None)

    def vae(self) -> Any:
        """A pipeline of the VAE and the scheduler only; in fp32 where fp16 overflows in it, as XL's does."""
        dtype = torch.float32 if self.half == torch.float16 and self.is_xl else self.half or torch.float32
        return read_pipeline(self.folder, dtype, unet=None, **self._without_texts())

    def unet(self, settings: DiffusionSettings) -> Any:
        """The U-Net on the CPU, what is trained with `requires_grad` and in fp32, the rest frozen and in `half`.

        Raises:
            SettingsError: layers that it does not have.
            DamagedModelError: it cannot be read.
        """
        frozen = self.half if settings.method == "lora" and self.half is not None else torch.float32
        read = torch.float32 if self.facts is not None else frozen  # what is continued is not rounded
        pipeline = read_pipeline(self.folder, read, vae=None, **self._without_texts())
        if self.facts is not None:
            attach_image_adapter(pipeline, self.facts)
        if settings.method == "full":
            if self.facts is not None and self.facts.kind == "image-lora":
                pipeline.fuse_lora(components=["unet"])
                pipeline.unload_lora_weights()
            unet = pipeline.unet.requires_grad_(True)
        else:
            unet = _with_lora(pipeline.unet, settings, fresh=self.facts is None)
            for parameter in unet.parameters():
                parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else frozen)
        if settings.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        return unet.train()

    def _without_texts(self) -> dict[str, None]:
        return {part: None for part in _TEXT_PARTS if (self.folder / part).is_dir()}


def check_start(reference: ModelReference, settings: DiffusionSettings, device: torch.device) -> Start:
    """Find and check what a run starts from; reads no weights but an adapter's.

    Raises:
        SettingsError: an adapter that the method cannot continue, or a resolution that does not fit.
        MissingModelError, DamagedModelError, MismatchError: pipeline or adapter cannot be used.
    """
    folder = resolve_pipeline(reference.model, reference.revision)
    facts = None
    if reference.adapter is not None:
        facts = inspect_image_adapter(Path(reference.adapter))
        check_image_fit(facts, folder)
        if facts.kind == "unet" and settings.method == "lora":
            raise SettingsError(
                f"adapter {reference.adapter} is a whole U-Net, beside which LoRA matrices would be worth nothing on "
                "the base: use method full, or give its pipeline as the model"
            )
    remember_base(ModelReference(reference.model, revision=reference.revision), pipeline_digest(folder))
    half = _HALF.get(settings.mixed_precision) if device.type == "cuda" else None
    is_xl = check_pipeline(folder).startswith("StableDiffusionXL")
    return Start(folder, pipeline_digest(folder), facts, _resolution(folder, settings), is_xl, half)


def _resolution(folder: Path, settings: DiffusionSettings) -> int:
    parts = [strict_json((folder / part / "config.json").read_bytes(), str(folder / part)) for part in ("unet", "vae")]
    try:
        factor = 2 ** (len(parts[1]["block_out_channels"]) - 1)
        own = int(parts[0]["sample_size"]) * factor
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedModelError(
            f"the configurations of {folder / 'unet'} and {folder / 'vae'} do not say what size it paints ({error!r}): "
            "save the pipeline again"
        ) from error
    chosen = settings.resolution or own
    if chosen % factor:
        raise SettingsError(
            f"resolution {chosen} is no multiple of {factor}, by which this pipeline's VAE shrinks pictures: use "
            f"{max(factor, chosen // factor * factor)}"
        )
    return chosen


def _with_lora(unet: Any, settings: DiffusionSettings, *, fresh: bool) -> Any:
    """The U-Net, frozen, with LoRA matrices that are trained: those it has, or fresh ones (A gaussian, B zero)."""
    unet.requires_grad_(False)
    if fresh:
        _add_lora(unet, settings)
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_("lora_A" in name or "lora_B" in name)
    return unet


def _add_lora(unet: Any, settings: DiffusionSettings) -> None:
    from peft import LoraConfig

    layers = [name for name, module in unet.named_modules() if hasattr(module, "weight")]
    known = ", ".join(sorted({_short(name) for name in layers}))
    for target in settings.target_modules:
        if not any(name == target or name.endswith(f".{target}") for name in layers):
            raise SettingsError(f"target_modules names {target!r}, which this U-Net does not have; it has {known}")
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha or settings.rank,
        init_lora_weights="gaussian",
        target_modules=list(settings.target_modules),
    )
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed % 2**63)
            unet.add_adapter(config, adapter_name=FRESH)
    except ValueError as error:
        raise SettingsError(
            f"target_modules {settings.target_modules!r} does not fit ({error}): name linear or convolution layers of "
            f"{known}"
        ) from error


def _short(name: str) -> str:
    """The part of a layer's name that people put into a list of targets: to_q, to_out.0, conv1."""
    parts = name.split(".")
    return ".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]
