"""Tuning on a person's samples or pictures, from the base or from another adapter.

    from xpert.tuning import TuningSettings, tune
    result = tune(ModelReference("folder"), train, validation, Path("mine"), TuningSettings())

    from xpert.tuning import DiffusionSettings, tune_diffusion
    result = tune_diffusion(ModelReference("pipeline"), open_pictures("folder"), Path("mine"), DiffusionSettings())

`tune` trains LoRA on any Hugging Face causal LM, `tune_diffusion` LoRA or the whole U-Net of a Stable Diffusion
pipeline. Only settings, news and results are imported at once; the rest loads torch when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xpert.tuning.course import TuningResult, TuningStep
from xpert.tuning.diffusion_settings import DiffusionSettings
from xpert.tuning.settings import TuningSettings

if TYPE_CHECKING:
    from xpert.tuning.diffusion import DiffusionResult, tune_diffusion
    from xpert.tuning.diffusion_loop import DiffusionStep
    from xpert.tuning.lora import tune, validation_loss

__all__ = [
    "DiffusionResult",
    "DiffusionSettings",
    "DiffusionStep",
    "TuningResult",
    "TuningSettings",
    "TuningStep",
    "tune",
    "tune_diffusion",
    "validation_loss",
]

_LAZY = {
    "DiffusionResult": "xpert.tuning.diffusion",
    "DiffusionStep": "xpert.tuning.diffusion_loop",
    "tune_diffusion": "xpert.tuning.diffusion",
    "tune": "xpert.tuning.lora",
    "validation_loss": "xpert.tuning.lora",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
