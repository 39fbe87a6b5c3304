"""LoRA tuning of any Hugging Face causal LM on a person's samples, from the base or from another adapter.

    from xpert.tuning import TuningSettings, tune
    result = tune(ModelReference("folder"), train, validation, Path("mine"), TuningSettings())

Only `TuningSettings` is imported at once; the rest loads torch when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xpert.tuning.settings import TuningSettings

if TYPE_CHECKING:
    from xpert.tuning.loop import TuningStep
    from xpert.tuning.lora import TuningResult, tune, validation_loss

__all__ = ["TuningResult", "TuningSettings", "TuningStep", "tune", "validation_loss"]

_LAZY = {
    "TuningResult": "xpert.tuning.lora",
    "TuningStep": "xpert.tuning.loop",
    "tune": "xpert.tuning.lora",
    "validation_loss": "xpert.tuning.lora",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
