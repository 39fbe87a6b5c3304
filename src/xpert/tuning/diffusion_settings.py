"""How to tune a diffusion model: every number of a run, checked at once.

Knows values and their rules; never sees pictures, models or torch.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from xpert.errors import SettingsError

Method = Literal["full", "lora"]
Schedule = Literal["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"]

_Count = Annotated[int, Field(ge=1)]
_Share = Annotated[float, Field(ge=0, lt=1)]
_FREE = {
    "save_every",
    "validation_prompts",
    "validate_every",
    "cache_latents_mib",
}  # what may change when a run goes on

DEFAULT_STEPS = 500
DEFAULT_RATES: dict[Method, float] = {"lora": 1e-4, "full": 1e-5}


class DiffusionSettings(BaseModel):
    """Settings of one run; frozen, unknown names refused, all faults reported in one error.

    Attributes:
        method: "lora" trains low-rank matrices beside the U-Net's attention, "full" the whole U-Net.
        rank: LoRA rank r of a fresh adapter (one that is continued keeps its own).
        alpha: LoRA alpha of a fresh adapter, the update is scaled by alpha / rank; None: as `rank`.
        target_modules: names of the layers that a fresh adapter changes.
        resolution: width and height of what is learned from, in pixels; None: what the pipeline was made for.
        center_crop: crop the middle; False: anywhere, anew each time.
        random_flip: mirror every second picture, by chance.
        batch_size: pictures in one forward pass, a process.
        accumulation_steps: forward passes in one optimizer step, a process; the step's loss is their mean, so 1 x 4
            and 4 x 1 are the same step.
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time.
        mixed_precision: "fp16" or "bf16" on CUDA; elsewhere fp32 is computed all the same, which is no worse and, on
            most CPUs, faster. What is trained is kept in fp32 always.
        max_steps: optimizer steps; with neither this nor `epochs`, 500.
        epochs: times that every picture is seen, in place of `max_steps`.
        save_every: steps between two checkpoints.
        learning_rate: highest learning rate of AdamW; None: 1e-4 for LoRA, 1e-5 for the whole U-Net.
        schedule: how the rate goes on, as `diffusers.optimization.get_scheduler` computes it.
        warmup_steps: steps over which the rate rises linearly.
        schedule_cycles: restarts of "cosine_with_restarts".
        max_grad_norm: gradients are clipped to this length.
        ema: keep a moving average of the weights, which is what is written.
        ema_decay: its largest decay; that of step t is min(ema_decay, t / (9 + t)).
        snr_gamma: weigh timesteps by min(SNR, gamma) / SNR, with v-prediction by min(SNR, gamma) / (SNR + 1)
            (Hang et al. 2023, arXiv:2303.09556; 5.0 is usual); None: all alike.
        noise_offset: size of a constant that is added to each channel's noise, for darker and brighter pictures.
        input_perturbation: size of further noise on what the U-Net sees, but not on what it must answer
            (Ning et al. 2023, arXiv:2301.11706; 0.1 is usual).
        prediction_type: "epsilon" or "v_prediction"; None: what the pipeline's scheduler says.
        adam_beta1: of AdamW.
        adam_beta2: of AdamW.
        weight_decay: of AdamW.
        adam_epsilon: of AdamW.
        seed: of everything random: order, crops, flips, captions, noise, timesteps and fresh LoRA matrices.
        validation_prompts: captions that are painted on the way.
        validate_every: steps between two such paintings; also after the last step.
        cache_latents_mib: memory for what the VAE says of pictures whose crop does not move, and as much again for
            what the text encoders say of captions, in MiB each; beyond it they are encoded anew.

    Raises:
        SettingsError: at least one value breaks its rule; the text names all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Method = "lora"
    rank: _Count = 8
    alpha: _Count | None = None
    target_modules: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    resolution: Annotated[int, Field(ge=8)] | None = None
    center_crop: bool = False
    random_flip: bool = False
    batch_size: _Count = 1
    accumulation_steps: _Count = 1
    gradient_checkpointing: bool = False
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    max_steps: _Count | None = None
    epochs: _Count | None = None
    save_every: _Count = 500
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    schedule: Schedule = "constant"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule_cycles: _Count = 1
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    ema: bool = False
    ema_decay: _Share = 0.9999
    snr_gamma: Annotated[float, Field(gt=0)] | None = None
    noise_offset: Annotated[float, Field(ge=0)] = 0.0
    input_perturbation: Annotated[float, Field(ge=0)] = 0.0
    prediction_type: Literal["epsilon", "v_prediction"] | None = None
    adam_beta1: _Share = 0.9
    adam_beta2: _Share = 0.999
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    seed: int = 0
    validation_prompts: tuple[str, ...] = ()
    validate_every: _Count = 100
    cache_latents_mib: Annotated[int, Field(ge=0)] = 512

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            faults = "; ".join(_describe(fault) for fault in error.errors())
            raise SettingsError(f"diffusion settings: {faults}") from None

    @field_validator("target_modules", "validation_prompts")
    @classmethod
    def _no_empty_text(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(text.strip() for text in value):
            raise ValueError("must hold no empty text")
        return value

    @field_validator("target_modules")
    @classmethod
    def _some_layer(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError('needs at least one layer name such as "to_q"')
        return value

    @model_validator(mode="after")
    def _belong_together(self) -> DiffusionSettings:
        faults = []
        if self.max_steps is not None and self.epochs is not None:
            faults.append(f"max_steps {self.max_steps} and epochs {self.epochs} both say how long: give one of them")
        if self.schedule == "constant" and self.warmup_steps:
            faults.append(
                f"schedule constant knows no warm-up, but warmup_steps is {self.warmup_steps}: use constant_with_warmup"
            )
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def rate(self) -> float:
        """The learning rate, also where none was given."""
        return DEFAULT_RATES[self.method] if self.learning_rate is None else self.learning_rate

    def steps(self, pictures: int, processes: int = 1) -> int:
        """Optimizer steps of a run: `max_steps`, or ceil(epochs * pictures / pictures of a step)."""
        if self.epochs is None:
            return self.max_steps or DEFAULT_STEPS
        return -(-self.epochs * pictures // (self.batch_size * self.accumulation_steps * processes))

    def digest(self) -> str:
        """SHA-256 of everything that shapes the weights."""
        return hashlib.sha256(self.model_dump_json(exclude=_FREE).encode()).hexdigest()


def _describe(fault: Any) -> str:
    name = ".".join(str(part) for part in fault["loc"][:1])
    rule = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"{name}: no such setting; known are {', '.join(DiffusionSettings.model_fields)}"
    return f"{name}: {rule}, not {fault['input']!r}" if name else rule
