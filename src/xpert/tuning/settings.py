"""How to tune: every number of a run, checked at once.

Knows values and their rules; never sees data, models or torch.
"""

from __future__ import annotations

import hashlib
import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from xpert.errors import SettingsError

_Count = Annotated[int, Field(ge=1)]


class TuningSettings(BaseModel):
    """Settings of one run; frozen, unknown names refused, all faults reported in one error.

    Attributes:
        rank: LoRA rank r of a fresh adapter (an adapter that is continued keeps its own).
        alpha: LoRA alpha of a fresh adapter; the update is scaled by alpha / rank.
        dropout: dropout before the LoRA matrices, 0 to below 1; while training only.
        target_modules: names of the layers that a fresh adapter changes, or "all-linear".
        learning_rate: highest learning rate of AdamW.
        warmup_steps: steps over which the rate rises linearly to it.
        schedule: what follows the warm-up until `max_steps`: constant, cosine or linear to zero.
        max_steps: optimizer steps at most.
        batch_size: samples in one forward pass.
        accumulation_steps: forward passes in one optimizer step; a step's loss is the mean over all its
            response tokens, so 1 x 8 and 4 x 2 are the same step.
        max_length_tokens: longer samples are cut to this.
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time.
        weight_decay: of AdamW.
        max_grad_norm: gradients are clipped to this length.
        evaluate_every: steps between two evaluations (also before the first step and after the last);
            None: never, then no validation samples are needed and the last adapter is kept.
        target_validation_loss: stop as soon as the validation loss is at or below this, in nats a token;
            also before the first step.
        patience: stop after this many evaluations in a row without improvement; None: never.
        min_delta: what counts as improvement: more than this below the lowest so far, in nats a token.
        save_every: steps between two checkpoints.
        seed: of the fresh adapter, the order of the samples and the dropout.
        dtype: of the frozen base; "auto" is float32 on the CPU and bfloat16 on CUDA. LoRA matrices
            are float32 always.

    Raises:
        SettingsError: at least one value breaks its rule; the text names all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: _Count = 8
    alpha: _Count = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 5
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    max_steps: _Count = 200
    batch_size: _Count = 8
    accumulation_steps: _Count = 1
    max_length_tokens: Annotated[int, Field(ge=8)] = 256
    gradient_checkpointing: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    evaluate_every: _Count | None = 10
    target_validation_loss: float | None = None
    patience: _Count | None = 5
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    save_every: _Count = 20
    seed: int = 0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            faults = "; ".join(_describe(fault) for fault in error.errors())
            raise SettingsError(f"tuning settings: {faults}") from None

    @field_validator("target_modules")
    @classmethod
    def _targets(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, str) and value != "all-linear":
            raise ValueError('must be "all-linear" or a list of layer names such as ["q_proj", "v_proj"]')
        if not value or not all(value):
            raise ValueError('needs at least one layer name, and no empty one, or "all-linear"')
        return value

    @model_validator(mode="after")
    def _target_needs_evaluation(self) -> TuningSettings:
        if self.target_validation_loss is not None and self.evaluate_every is None:
            raise ValueError("target_validation_loss is seen by evaluations only: give evaluate_every a number")
        return self

    def learning_rate_at(self, step: int) -> float:
        """Rate of step `step`, counted from 0.

        learning_rate * min(1, (step + 1) / warmup_steps), times (1 + cos(pi p)) / 2 for "cosine" or 1 - p for
        "linear", where p = (step - warmup_steps) / (max_steps - warmup_steps) after the warm-up, else 0.
        """
        rate = self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup_steps))
        share = max(0, step - self.warmup_steps) / max(1, self.max_steps - self.warmup_steps)
        if self.schedule == "cosine":
            return rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        return rate * (1 - min(1.0, share)) if self.schedule == "linear" else rate

    def digest(self) -> str:
        """SHA-256 of everything that shapes a run; `save_every` does not."""
        return hashlib.sha256(self.model_dump_json(exclude={"save_every"}).encode()).hexdigest()


def _describe(fault: Any) -> str:
    name = ".".join(str(part) for part in fault["loc"][:1])
    rule = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"{name}: no such setting; known are {', '.join(TuningSettings.model_fields)}"
    return f"{name}: {rule}, not {fault['input']!r}" if name else rule
