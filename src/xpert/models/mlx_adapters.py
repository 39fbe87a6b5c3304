"""LoRA adapters of mlx-lm become adapters of peft, of the same difference. Knows files; mlx is not needed.

mlx-lm adds scale x (A B) to a layer's output, with A (in, r) and B (r, out); peft has both the other way round, and
alpha / r in the scale's place.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpert.errors import DamagedModelError, MissingModelError
from xpert.models.adapters import CONFIG, WEIGHTS, tensor_name
from xpert.models.cards import CARD
from xpert.models.folders import whole_folder
from xpert.models.headers import read_header, strict_json
from xpert.models.lora_settings import read_capped
from xpert.models.magnitudes import read_magnitudes
from xpert.models.peft_config import short
from xpert.models.reference import file_digest, shared_name
from xpert.printing import printable

if TYPE_CHECKING:
    import torch

MLX_WEIGHTS = "adapters.safetensors"


def convert_mlx(folder: Path, out: Path) -> Path:
    """Write an adapter of mlx-lm as a plain peft folder.

    Args:
        folder: with adapters.safetensors and the adapter_config.json of mlx-lm.
        out: folder to write; must be free.

    Returns:
        `out`.

    Raises:
        MissingModelError: a file is missing or cannot be read.
        DamagedModelError: another method than LoRA, or layers that peft adapts otherwise.
        SettingsError: `out` is taken.
        StorageError: the disk refused; nothing is left.
    """
    from safetensors.torch import save_file

    try:
        stated = strict_json(read_capped(folder / CONFIG), str(folder / CONFIG))
    except OSError as error:
        raise MissingModelError(
            f"{folder / CONFIG} cannot be read ({error.strerror or error}): it has the scale; fetch it again"
        ) from error
    scale, dropout = _numbers(stated, folder)
    layers = _layers(folder / MLX_WEIGHTS)
    ranks = {name: int(a.shape[0]) for name, (a, _) in layers.items()}
    rank = max(set(ranks.values()), key=lambda one: list(ranks.values()).count(one))
    base = stated.get("model")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": shared_name(base) if isinstance(base, str) and base else None,
        "r": rank,
        "lora_alpha": scale * rank,
        "rank_pattern": {name: own for name, own in ranks.items() if own != rank},
        "alpha_pattern": {name: scale * own for name, own in ranks.items() if own != rank},
        "lora_dropout": dropout,
        "target_modules": sorted(layers),
        "bias": "none",
        "inference_mode": True,
    }
    tensors: dict[str, torch.Tensor] = {}
    for name, (a, b) in layers.items():
        tensors |= {tensor_name(name, "A", table=False): a, tensor_name(name, "B", table=False): b}
    with whole_folder(out) as fresh:
        save_file(tensors, fresh / WEIGHTS, {"format": "pt"})
        (fresh / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
        (fresh / CARD).write_text(_card(file_digest(folder / MLX_WEIGHTS)), "utf-8")
    return out


def _numbers(stated: dict[str, Any], folder: Path) -> tuple[float, float]:
    """Scale and dropout.

    Raises:
        DamagedModelError: another method, or values that cannot be.
    """
    method, parameters = stated.get("fine_tune_type", "lora"), stated.get("lora_parameters")
    if method != "lora":
        raise DamagedModelError(f"{folder / CONFIG}: fine_tune_type is {short(method)}; only 'lora' becomes an adapter")
    if not isinstance(parameters, dict):
        raise DamagedModelError(f"{folder / CONFIG}: lora_parameters is {short(parameters)}; it must hold the scale")
    scale, dropout = parameters.get("scale"), parameters.get("dropout", 0.0)
    if not _is_number(scale) or not _is_number(dropout) or not 0 <= dropout < 1:
        raise DamagedModelError(
            f"{folder / CONFIG}: scale {short(scale)} and dropout {short(dropout)} must be finite numbers, dropout "
            "from 0 to below 1"
        )
    return float(scale or 0), float(dropout)


def _is_number(value: Any) -> bool:
    """A finite number; no truth value, and no whole number that no float can hold."""
    return type(value) in (int, float) and abs(value) < 2**31 and math.isfinite(value)


def _layers(file: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Layer -> A (r, in) and B (out, r)."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    entries = read_header(file)
    read_magnitudes(file, entries)
    sides: dict[str, dict[str, str]] = {}
    for entry in entries:
        layer, _, side = entry.name.rpartition(".")
        table = layer.rsplit(".", 1)[-1] in ("embed_tokens", "wte", "tok_embeddings")
        if side not in ("lora_a", "lora_b") or len(entry.shape) != 2 or table:
            raise DamagedModelError(
                f"{file}: {printable(entry.name, 200)!r} of shape {entry.shape} is no matrix of a LoRA on a linear "
                "layer, and only those are converted exactly: tune without DoRA, experts and embeddings"
            )
        sides.setdefault(layer, {})[side] = entry.name
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise DamagedModelError(f"{file} cannot be read ({error}): fetch it again") from error
    found = {}
    for layer, names in sides.items():
        a, b = (tensors[names[side]].t().contiguous() if side in names else None for side in ("lora_a", "lora_b"))
        if a is None or b is None or a.shape[0] != b.shape[1]:
            raise DamagedModelError(f"{file}: layer {printable(layer, 200)!r} needs lora_a and lora_b of one rank")
        found[layer] = a, b
    if not found:
        raise DamagedModelError(f"{file} holds no tensors: fetch it again")
    return found


def _card(digest: str) -> str:
    return (
        f"---\nlibrary_name: peft\ntags:\n- lora\n- xpert\nxpert:\n  converted_from_sha256: {digest}\n---\n\n"
        "# A LoRA adapter\n\nConverted from an adapter of mlx-lm, of the same difference from its base.\n"
    )
