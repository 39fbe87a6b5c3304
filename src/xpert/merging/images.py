"""Task arithmetic on what personalizes a pipeline: theta0 + sum_i a_i (theta_i - theta0) (Ilharco et al., 2023).

LoRAs become one LoRA, exactly. Where a parent is a whole U-Net the result is a whole U-Net, made tensor by tensor: of
every parent one tensor is in memory. Everything is checked before anything is written; nothing is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCardData
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from xpert.errors import DamagedModelError, MissingModelError, ModelError, SettingsError
from xpert.merging.lora import Lora, concatenate, dense
from xpert.merging.streaming import write_streamed
from xpert.models.adapters import CARD
from xpert.models.folders import check_free, whole_folder
from xpert.models.generation import Progress
from xpert.models.headers import read_header
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
        MissingModelError, DamagedModelError, MismatchError: a parent cannot be read or belongs to another base, or
            the base's U-Net cannot be read tensor by tensor.
        ModelError: a sum is not finite in the numbers that it is written in.
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
    check_free(out)
    all_lora = all(fact.kind == "image-lora" for fact in facts.values())
    rank, tensors, unet = 0, dict[str, torch.Tensor](), None
    if all_lora:
        merged = concatenate([(read_image_lora(fact), weights[name]) for name, fact in facts.items()])
        for layer, (a, b) in merged.layers.items():
            tensors |= {f"unet.{layer}.lora_A.weight": a, f"unet.{layer}.lora_B.weight": b}
        for name, tensor in tensors.items():
            _check_sum(name, tensor, facts)
        rank = next(iter(merged.layers.values()))[0].shape[0]
    else:
        unet = _open_sum(facts, weights, base_folder / "unet")
    card = _card(out.name, base_name or base_folder.name, pipeline_digest(base_folder), facts, weights)
    with whole_folder(out) as fresh:
        if unet is None:
            save_file(tensors, fresh / LORA_WEIGHTS, {"format": "pt"})
        else:
            write_streamed(fresh / UNET_WEIGHTS, unet.shapes, unet.tensor, on_progress)
            (fresh / UNET_CONFIG).write_bytes(unet.config)
        (fresh / CARD).write_text(card, encoding="utf-8")
    return MergedAdapter(out, "image-lora" if all_lora else "unet", rank, weights)


def read_image_lora(facts: ImageAdapterFacts) -> Lora:
    """The matrices of an inspected LoRA.

    Raises:
        MissingModelError, DamagedModelError: it changed since then, and cannot be read any more.
    """
    sides: dict[str, dict[str, torch.Tensor]] = {}
    try:
        tensors = load_file(facts.weights)
    except (OSError, SafetensorError) as error:
        raise _unreadable(facts.weights, error) from error
    for name, tensor in tensors.items():
        key = lora_key(name)
        assert key is not None  # inspected
        sides.setdefault(key[0], {})[key[1]] = tensor
    return Lora({layer: (found["A"], found["B"]) for layer, found in sides.items()}, facts.scale)


def _unreadable(file: Path, error: Exception) -> ModelError:
    if isinstance(error, OSError):
        return MissingModelError(f"{file} cannot be read ({error.strerror or error}): check path and rights")
    return DamagedModelError(f"{file} cannot be read ({error}): download or save it again")


@dataclass(frozen=True)
class _Sum:
    """A whole U-Net to be: what its tensors are, and each of them when it is its turn."""

    shapes: dict[str, tuple[tuple[int, ...], torch.dtype]]
    tensor: Callable[[str], torch.Tensor]
    config: bytes


def _open_sum(facts: Mapping[str, ImageAdapterFacts], weights: Mapping[str, float], base: Path) -> _Sum:
    """Open the base's U-Net and the parents, so that nothing that is wrong with them is found while writing.

    LoRA parents add their dense difference.

    Raises:
        MissingModelError, DamagedModelError: a file of them cannot be read, or the base's U-Net is in several.
        ModelError, of `tensor`: a sum is not finite.
    """
    file = base / UNET_WEIGHTS
    if not file.is_file():
        found = ", ".join(sorted(path.name for path in base.glob("*.safetensors")))
        raise MissingModelError(
            f"{base} holds no {UNET_WEIGHTS} (there is {found}), and whole U-Nets are merged from one file: save the "
            "base with `save_pretrained(..., max_shard_size='1TB')`, or merge LoRAs"
        )
    shapes = {entry.name: (entry.shape, _DTYPES[entry.dtype]) for entry in read_header(file)}
    loras = {name: read_image_lora(fact) for name, fact in facts.items() if fact.kind == "image-lora"}
    parents = {name: fact.weights for name, fact in facts.items() if fact.kind == "unet"}
    for name in parents:
        if {key: shape for key, (shape, _) in shapes.items()} != facts[name].shapes:
            raise DamagedModelError(f"{file} has other tensors than {base / UNET_CONFIG} says: download it again")
    opened: dict[str, Any] = {}
    for name, path in {"": file, **parents}.items():
        try:
            opened[name] = safe_open(path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise _unreadable(path, error) from error
    origin = opened.pop("")

    def summed(name: str) -> torch.Tensor:
        start = _tensor(origin, name)
        total = start.clone()
        for parent, unet in opened.items():
            total += weights[parent] * (_tensor(unet, name) - start)
        layer = name.removesuffix(".weight")
        for parent, lora in loras.items():
            if layer in lora.layers:
                total += weights[parent] * dense(lora, layer)
        total = total.to(shapes[name][1])
        _check_sum(name, total, facts)
        return total

    try:
        config = (base / UNET_CONFIG).read_bytes()
    except OSError as error:
        raise _unreadable(base / UNET_CONFIG, error) from error
    return _Sum(shapes, summed, config)


def _check_sum(name: str, tensor: torch.Tensor, parents: Iterable[str]) -> None:
    if not torch.isfinite(tensor).all():
        raise ModelError(
            f"the weighted sum of {', '.join(parents)} is not finite in {name} ({tensor.dtype}): use smaller weights, "
            "or a base in fp32"
        )


_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}


def _tensor(opened: Any, name: str) -> torch.Tensor:
    tensor: torch.Tensor = opened.get_tensor(name).to(torch.float32)
    return tensor


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
