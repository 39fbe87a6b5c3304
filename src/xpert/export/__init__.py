"""From a base and an adapter to a folder that any ONNX Runtime trains: graphs, weights, tokenizer, manifest.

    from xpert.export import ExportSettings, export
    export(ModelReference("xpert/base"), Path("artifacts"), ExportSettings())

`convert` tells the story. The graphs are written, not traced: `tape` differentiates them, `layers` and `objective` hold
the arithmetic, `decoder` and `graphs` put it together, `frozen` writes the base. What is exported here loads torch when
it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xpert.export.convert import ExportSettings, export

__all__ = ["ExportSettings", "export"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("xpert.export.convert"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
