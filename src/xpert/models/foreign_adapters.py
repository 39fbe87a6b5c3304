"""Adapters that other programs write in formats of their own: named as what they are, with the way out.

Knows names of files and keys of small JSON files; reads no tensors.
"""

from __future__ import annotations

import json
from pathlib import Path

from xpert.errors import DamagedModelError

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_MLX_WEIGHTS = "adapters.safetensors"
_MLX_KEYS = ("fine_tune_type", "lora_parameters", "lora_layers", "adapter_path")
_CAP_BYTES = 2**20


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds an adapter of another program's format.

    Raises:
        DamagedModelError: it does; the text says which, and how it becomes a peft adapter.
    """
    if is_mlx_adapter(folder):
        raise DamagedModelError(
            f"{folder} is an adapter of mlx-lm ({_MLX_WEIGHTS}), whose matrices lie the other way round: convert it "
            f"with `xpert convert {folder} --out FOLDER`, or tune again with peft"
        )
    if not (folder / _WEIGHTS).is_file() and any(folder.glob("*.gguf")):
        raise DamagedModelError(
            f"{folder} holds an adapter in GGUF, the format of llama.cpp, which cannot be read back exactly: give the "
            "peft folder that it was converted from"
        )
    if not (folder / _CONFIG).is_file() and (folder / "lit_model.pth.lora").is_file():
        raise DamagedModelError(
            f"{folder} holds a LoRA of LitGPT, a pickle, and unpickling runs code: convert it to a peft folder first"
        )


def is_mlx_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter as mlx-lm writes it: by its files, or by the keys of its configuration."""
    if not (folder / _MLX_WEIGHTS).is_file() and not (folder / _CONFIG).is_file():
        return False
    stated = _stated(folder / _CONFIG)
    if "peft_type" in stated:
        return False
    return (folder / _MLX_WEIGHTS).is_file() or any(key in stated for key in _MLX_KEYS)


def _stated(file: Path) -> dict[str, object]:
    """The keys of a small JSON file; none where it is missing or damaged; reading it as an adapter says so."""
    try:
        with file.open("rb") as stream:
            value = json.loads(stream.read(_CAP_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
