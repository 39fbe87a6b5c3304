"""XPerT: personalize language and image models on a device without starting from scratch.

    import xpert
    samples = xpert.read_samples("my-messages.jsonl")

The names below are loaded when they are asked for; importing this package loads no model library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xpert.data import read_samples, split_samples
    from xpert.device.personalize import personalize
    from xpert.errors import XpertError
    from xpert.explaining import explain
    from xpert.models.loading import load_model
    from xpert.models.reference import ModelReference
    from xpert.opening import open_explainer
    from xpert.pool import open_pool
    from xpert.records import Explanation, Sample, Selection
    from xpert.selecting import select
    from xpert.tuning import TuningSettings, tune

    __version__: str

__all__ = [
    "Explanation",
    "ModelReference",
    "Sample",
    "Selection",
    "TuningSettings",
    "XpertError",
    "__version__",
    "explain",
    "load_model",
    "open_explainer",
    "open_pool",
    "personalize",
    "read_samples",
    "select",
    "split_samples",
    "tune",
]

_HOMES = {
    "Explanation": "xpert.records",
    "ModelReference": "xpert.models.reference",
    "Sample": "xpert.records",
    "Selection": "xpert.records",
    "TuningSettings": "xpert.tuning",
    "XpertError": "xpert.errors",
    "explain": "xpert.explaining",
    "load_model": "xpert.models.loading",
    "open_explainer": "xpert.opening",
    "open_pool": "xpert.pool",
    "personalize": "xpert.device.personalize",
    "read_samples": "xpert.data",
    "select": "xpert.selecting",
    "split_samples": "xpert.data",
    "tune": "xpert.tuning",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home, once (PEP 562)."""
    if name == "__version__":
        value: Any = _version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("xpert")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0+unknown"
