"""Training and answering from exported artifacts, on any runtime: no torch, transformers or peft is needed.

    from xpert.runtime import train_exported
    train_exported(Path("artifacts"), train, validation, Path("mine"), TuningSettings())

`xpert.export` writes the artifacts; `manifest` says what is in them, `interface.Runtime` what a runtime must do,
`training` how a run goes, `adopting` how weights become a plain peft adapter again, `serving` gives out the page that
does the same in a browser (`visitors` knows to whom, `connection` speaks HTTP). What is exported here loads when it is
asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xpert.runtime.adopting import adopt
    from xpert.runtime.interface import Runtime
    from xpert.runtime.manifest import Manifest, read_manifest
    from xpert.runtime.onnx_runtime import OnnxRuntime
    from xpert.runtime.torch_runtime import TorchRuntime
    from xpert.runtime.training import train_exported

__all__ = [
    "Manifest",
    "OnnxRuntime",
    "Runtime",
    "TorchRuntime",
    "adopt",
    "read_manifest",
    "train_exported",
]

_LAZY = {
    "Manifest": "xpert.runtime.manifest",
    "OnnxRuntime": "xpert.runtime.onnx_runtime",
    "Runtime": "xpert.runtime.interface",
    "TorchRuntime": "xpert.runtime.torch_runtime",
    "adopt": "xpert.runtime.adopting",
    "read_manifest": "xpert.runtime.manifest",
    "train_exported": "xpert.runtime.training",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
