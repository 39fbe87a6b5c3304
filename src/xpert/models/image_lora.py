"""The LoRA of a U-Net as diffusers writes it: which tensors are A and B of which layer, and every layer's scale.

Knows names, shapes and the metadata of one safetensors file.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xpert.errors import DamagedModelError
from xpert.models.headers import read_metadata, strict_json
from xpert.models.lora_settings import LoraSettings, lora_settings

Shape = tuple[int, ...]

_TENSOR = re.compile(r"unet\.(?P<module>.+)\.(?:lora_(?P<side>[AB])|lora\.(?P<old>down|up))\.weight")


def lora_key(name: str) -> tuple[str, str] | None:
    """(layer, "A" or "B") of a tensor's name in diffusers' LoRA formats; None where it is none."""
    found = _TENSOR.fullmatch(name)
    if found is None:
        return None
    return found["module"], found["side"] or {"down": "A", "up": "B"}[found["old"]]


def lora_layers(shapes: dict[str, Shape], path: Path) -> dict[str, tuple[Shape, Shape]]:
    """Layer -> shapes of its A and B.

    Raises:
        DamagedModelError: a tensor that is neither, an A without B or one twice, or shapes that are no LoRA's.
    """
    sides: dict[str, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        key = lora_key(name)
        if key is None:
            raise DamagedModelError(
                f"{path}: tensor {name!r} is neither A nor B of a layer of the U-Net; only diffusers' own LoRA format "
                "for the U-Net is read here: `xpert convert` brings single files of kohya-ss and civitai to it with "
                "every layer's alpha, which loading and saving them with diffusers loses"
            )
        if len(shape) < 2 or 0 in shape:
            raise DamagedModelError(
                f"{path}: tensor {name!r} has shape {shape}, a matrix or a convolution's kernel is needed: save the "
                "adapter again"
            )
        if key[1] in sides.setdefault(key[0], {}):
            raise DamagedModelError(
                f"{path}: layer {key[0]!r} has {key[1]} twice, as lora_{key[1]} and in the older spelling: save the "
                "adapter again with `save_lora_weights`, which writes one"
            )
        sides[key[0]][key[1]] = shape
    if not sides:
        raise DamagedModelError(f"{path} holds no tensors: save the adapter again")
    for module, found in sides.items():
        if found.keys() != {"A", "B"}:
            raise DamagedModelError(f"{path}: layer {module!r} needs one A and one B: save the adapter again")
        if any(size != 1 for size in found["B"][2:]):
            raise DamagedModelError(
                f"{path}: B of layer {module!r} has shape {found['B']}, but only A may have a kernel; all but B's "
                "first two sizes must be 1: save the adapter again"
            )
    return {module: (found["A"], found["B"]) for module, found in sides.items()}


def stated_settings(path: Path, layers: dict[str, tuple[Shape, Shape]]) -> LoraSettings | None:
    """Ranks and alphas, as diffusers reads them: from the file's metadata; None where it has none: scale 1.

    Raises:
        DamagedModelError: settings that peft does not take, numbers that no scale can be made of, or a rank that the
            matrices do not have.
    """
    raw = read_metadata(path).get("lora_adapter_metadata")
    if raw is None:
        return None
    where = f"the metadata of {path}"
    stated = strict_json(raw.encode("utf-8"), where)
    own = {key.removeprefix("unet."): value for key, value in stated.items() if key.startswith("unet.")}
    rank, alpha = own.get("r"), own.get("lora_alpha")
    if own.get("use_dora") or own.get("use_rslora"):
        raise DamagedModelError(f"{path} uses DoRA or rsLoRA: save it as a plain LoRA")
    if rank is None and alpha is None:
        return None
    if _ratio(alpha, rank) is None:
        raise DamagedModelError(
            f"{path} states rank {str(rank)[:20]} and alpha {str(alpha)[:20]}: a whole number of at least 1 and a "
            "finite number above 0 are needed; save the adapter again"
        )
    named = {"peft_type": "LORA", **own, "target_modules": own.get("target_modules") or sorted(layers)}
    settings = lora_settings(named, where, known_only=True)
    for module, (a, _) in layers.items():
        if a[0] != settings.rank_of(module):
            raise DamagedModelError(
                f"{path} states rank {settings.rank_of(module)}, but A of layer {module!r} has shape {a}: save the "
                "adapter again"
            )
    return settings


def _ratio(alpha: object, rank: object) -> float | None:
    """alpha / r; None where either is no such number (bool is none)."""
    if type(rank) is not int or not isinstance(alpha, int | float) or isinstance(alpha, bool):
        return None
    try:
        scale = float(alpha) / rank
    except (OverflowError, ZeroDivisionError):
        return None
    return scale if rank > 0 and 0 < scale < math.inf else None


def scaled_layers(shapes: dict[str, Shape], settings: LoraSettings | None) -> Iterator[tuple[str, str, str, float]]:
    """Layer, names of its A and B, and its scale."""
    sides: dict[str, dict[str, str]] = {}
    for name in shapes:
        module, side = lora_key(name) or ("", "")
        sides.setdefault(module, {})[side] = name
    for module, found in sides.items():
        yield module, found["A"], found["B"], 1.0 if settings is None else settings.scale_of(module)


def peft_facts(ranks: Mapping[str, int], alphas: Mapping[str, float], dropout: float = 0.0) -> dict[str, Any]:
    """The settings of peft for these ranks and alphas: the usual ones, and a pattern for every other layer."""
    rank, alpha = _usual(ranks.values()), _usual(alphas.values())
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {name: value for name, value in ranks.items() if value != rank},
        "alpha_pattern": {name: value for name, value in alphas.items() if value != alpha},
        "target_modules": sorted(ranks),
        "lora_dropout": dropout,
        "bias": "none",
    }


def _usual(values: Iterable[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]
