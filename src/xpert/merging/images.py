"""Task arithmetic on what personalizes a pipeline: theta0 + sum_i a_i (theta_i - theta0) (Ilharco et al., 2023).

LoRAs become one LoRA, exactly. Where a parent is a whole U-Net the result is a whole U-Net, made tensor by tensor: of
every parent one tensor is in memory. Everything is checked before anything is written; nothing is skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCardData
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from xpert.errors import SettingsError
from xpert.merging.lora import Lora, concatenate, dense
from xpert.merging.streaming import write_streamed
from xpert.models.adapters import CARD
from xpert.models.folders import whole_folder
from xpert.models.generation import Progress
from xpert.models.image_adapters import (
    LORA_WEIGHTS,
    UNET_CONFIG,
    UNET_WEIGHTS,
    ImageAdapterFacts,
    ImageAdapterKind,
    check_image_fit,
    inspect_image_adapter,
    lora_key,
)
from xpert.models.pipelines import pipeline_digest


@dataclass(frozen=True)
class MergedAdapter:
    """What a merge wrote.

    Attributes:
        out: the adapter folder.
        kind: "image-lora" or "unet".
        rank: of the LoRA; 0 for a U-Net.
        weights: parent -> weight.
    """

    out: Path
    kind: ImageAdapterKind
    rank: int
    weights: dict[str, float]


def merge_image_adapters(
    parents: Mapping[str, tuple[Path, float]],
    base_folder: Path,
    out: Path,
    *,
    base_name: str | None = None,
    on_progress: Progress | None = None,
) -> MergedAdapter:
    """Write theta0 + sum_i a_i (theta_i - theta0) as an adapter of the base.

    Args:
        parents: name -> adapter folder and weight a_i.
        base_folder: pipeline that all of them belong to.
        out: folder to write; must be free.
        base_name: how people call the base.
        on_progress: called with ("merging", done, total) where a U-Net is written.

    Raises:
        SettingsError: no parents, a weight that is not finite, or `out` is taken.
        MissingModelError, DamagedModelError, MismatchError: a parent cannot be read or belongs to another base.
        StorageError: the disk refused; nothing is left.
    """
    if not parents:
        raise SettingsError("no models to merge: give at least one with its weight, such as red=0.6")
    facts: dict[str, ImageAdapterFacts] = {}
    for name, (folder, weight) in parents.items():
        if not -10 <= weight <= 10:
            raise SettingsError(f"weight {weight!r} of {name!r} is out of range: give a number from -10 to 10")
        facts[name] = inspect_image_adapter(folder)
        check_image_fit(facts[name], base_folder)
    weights = {name: weight for name, (_, weight) in parents.items()}
    all_lora = all(fact.kind == "image-lora" for fact in facts.values())
    with whole_folder(out) as fresh:
        if all_lora:
            merged = concatenate([(read_image_lora(fact), weights[name]) for name, fact in facts.items()])
            tensors: dict[str, torch.Tensor] = {}
            for layer, (a, b) in merged.layers.items():
                tensors |= {f"unet.{layer}.lora_A.weight": a, f"unet.{layer}.lora_B.weight": b}
            save_file(tensors, fresh / LORA_WEIGHTS, {"format": "pt"})
            rank = next(iter(merged.layers.values()))[0].shape[0]
        else:
            _write_unet(facts, weights, base_folder / "unet", fresh, on_progress)
            rank = 0
        card = _card(out.name, base_name or base_folder.name, pipeline_digest(base_folder), facts, weights)
        (fresh / CARD).write_text(card, encoding="utf-8")
    return MergedAdapter(out, "image-lora" if all_lora else "unet", rank, weights)


def read_image_lora(facts: ImageAdapterFacts) -> Lora:
    """The matrices of an inspected LoRA."""
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in load_file(facts.weights).items():
        key = lora_key(name)
        assert key is not None  # inspected
        sides.setdefault(key[0], {})[key[1]] = tensor
    return Lora({layer: (found["A"], found["B"]) for layer, found in sides.items()}, facts.scale)


def _write_unet(
    facts: Mapping[str, ImageAdapterFacts],
    weights: Mapping[str, float],
    base: Path,
    fresh: Path,
    on_progress: Progress | None,
) -> None:
    """Stream the sum; LoRA parents add their dense difference."""
    loras = {name: read_image_lora(fact) for name, fact in facts.items() if fact.kind == "image-lora"}
    whole = {name: safe_open(fact.weights, framework="pt") for name, fact in facts.items() if fact.kind == "unet"}
    with safe_open(base / UNET_WEIGHTS, framework="pt") as origin:
        shapes = {name: _described(origin.get_slice(name)) for name in origin.keys()}  # noqa: SIM118

        def summed(name: str) -> torch.Tensor:
            start = _tensor(origin, name)
            total = start.clone()
            for parent, opened in whole.items():
                total += weights[parent] * (_tensor(opened, name) - start)
            layer = name.removesuffix(".weight")
            for parent, lora in loras.items():
                if layer in lora.layers:
                    total += weights[parent] * dense(lora, layer)
            return total

        write_streamed(fresh / UNET_WEIGHTS, shapes, summed, on_progress)
    shutil.copyfile(base / UNET_CONFIG, fresh / UNET_CONFIG)


_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}


def _tensor(opened: Any, name: str) -> torch.Tensor:
    tensor: torch.Tensor = opened.get_tensor(name).to(torch.float32)
    return tensor


def _described(piece: Any) -> tuple[tuple[int, ...], torch.dtype]:
    shape, dtype = piece.get_shape(), piece.get_dtype()
    return tuple(shape), _DTYPES[dtype]


def _card(
    name: str, base_name: str, base: str, facts: Mapping[str, ImageAdapterFacts], weights: Mapping[str, float]
) -> str:
    kind = "image-lora" if all(fact.kind == "image-lora" for fact in facts.values()) else "unet"
    data = ModelCardData(
        base_model=base_name,
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=["lora" if kind == "image-lora" else "unet", "xpert", "merged"],
        xpert={
            "base_sha256": base,
            "method": "task arithmetic",
            "parents": [facts[parent].digest for parent in weights],
            "weights": [weights[parent] for parent in weights],
        },
    )
    rows = "\n".join(f"| {parent} | {weight:g} | `{facts[parent].digest[:12]}` |" for parent, weight in weights.items())
    return f"""---
{data.to_yaml()}
---

# {name}

Merged with XPerT from {len(weights)} personalized models of `{base_name}` by task arithmetic: the base plus the
weighted sum of their differences from it.

| parent | weight | digest |
|---|---|---|
{rows}
"""
