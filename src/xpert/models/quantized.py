"""Whether a base is stored quantised, and what reading it needs. Knows one JSON file; imports nothing that it names."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from xpert.errors import MissingModelError, ModelError
from xpert.printing import printable

_NEEDED = {
    "bitsandbytes": ("bitsandbytes",),
    "gptq": ("optimum", "gptqmodel"),
    "awq": ("gptqmodel",),
    "aqlm": ("aqlm",),
    "quanto": ("optimum-quanto",),
    "hqq": ("hqq",),
    "eetq": ("kernels",),
    "compressed-tensors": ("compressed-tensors",),
    "torchao": ("torchao",),
    "fbgemm_fp8": ("fbgemm-gpu",),
    "spqr": ("spqr-quant",),
    "vptq": ("vptq",),
    "higgs": ("flute-kernel",),
    "auto-round": ("auto-round",),
    "quark": ("amd-quark",),
    "mxfp4": ("kernels",),
    "fp_quant": ("fp-quant",),
}
"""Way of quantising -> packages that transformers reads it with, as pip names them."""

_MODULES = {"flute-kernel": "flute", "amd-quark": "quark", "optimum-quanto": "optimum.quanto"}
"""Package -> module, where the names differ in more than a hyphen."""
_NEEDS_GPU = ("fbgemm_fp8", "eetq", "higgs", "fp_quant")
_ALONE = ("fp8", "bitnet", "metal", "gemma", "nvfp4")
"""Ways that transformers reads with what comes with it."""


def quantization(folder: Path) -> str | None:
    """How the weights of a model folder are quantised, in the words of its config.json; None: they are not."""
    try:
        stated = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(stated, dict):
        return None
    text = stated.get("text_config")
    places = (stated, stated, text if isinstance(text, dict) else {})
    keys = ("quantization_config", "quantization", "quantization_config")
    found = next((part[key] for part, key in zip(places, keys, strict=True) if part.get(key) is not None), None)
    if found is None:
        return None
    if not isinstance(found, dict):
        return "unnamed"
    if isinstance(method := found.get("quant_method"), str):
        return method.lower()
    if found.get("load_in_8bit") or found.get("load_in_4bit"):
        return "bitsandbytes"
    return "mlx" if {"bits", "group_size"} <= found.keys() else "unnamed"


def require_quantizer(folder: Path) -> None:
    """See that what a quantised base is read with is installed.

    Raises:
        MissingModelError: a package is missing; the text has the command that installs it.
        ModelError: it is read on a GPU only, and there is none, or not by transformers at all.
    """
    if (method := quantization(folder)) is None:
        return
    shown = printable(method, 60)
    missing = [name for name in _NEEDED.get(method, ()) if not _installed(name)]
    if missing:
        raise MissingModelError(
            f"base {folder} is quantised ({shown}), and {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed: `pip install {' '.join(missing)}`, or give the "
            "base in bf16 or fp32"
        )
    if method == "mlx":
        raise ModelError(f"base {folder} is in the format of mlx, which runs on Apple's GPUs only: give the original")
    if method not in _NEEDED and method not in _ALONE:
        raise ModelError(
            f"base {folder} is quantised in a way ({shown}) that is not known here: give the base in bf16 or fp32"
        )
    if method in _NEEDS_GPU and not _has_gpu():
        raise ModelError(
            f"base {folder} is quantised ({shown}), which is computed on a GPU only, and there is none: give the base "
            "in bf16 or fp32"
        )


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _installed(package: str) -> bool:
    try:
        return find_spec(_MODULES.get(package, package.replace("-", "_"))) is not None
    except (ImportError, ValueError):
        return False
