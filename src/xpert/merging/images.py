"""What personalizes a pipeline becomes one: theta0 plus the merged difference, by any method of the table.

LoRAs become one LoRA, by task arithmetic exactly. Where a parent is a whole U-Net the result is a whole U-Net, made
tensor by tensor: of every parent one tensor is in memory. Everything is checked before anything is written; nothing is
skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from xpert.errors import DamagedModelError, MissingModelError, SettingsError
from xpert.merging.cards import Kind, Merged, merged_card
from xpert.merging.lora import Lora, LoraParent, merge_loras
from xpert.merging.methods import Recipe
from xpert.merging.parents import check_distinct, check_rank, check_sum, check_weights
from xpert.merging.stored import Shapes, open_stored, read_layers, unreadable
from xpert.merging.streaming import write_streamed
from xpert.merging.sums import SumParent, summed
from xpert.models.cards import write_card
from xpert.models.folders import check_free, whole_folder
from xpert.models.generation import Progress
from xpert.models.image_adapters import (
    LORA_WEIGHTS,
    UNET_CONFIG,
    UNET_WEIGHTS,
    ImageAdapterFacts,
    check_image_fit,
    image_adapter_digest,
    inspect_image_adapter,
)
from xpert.models.image_lora import lora_key
from xpert.models.known_bases import remember_base
from xpert.models.pipelines import pipeline_digest
from xpert.models.reference import ModelReference, shared_name


def merge_image_adapters(
    parents: Mapping[str, tuple[Path, float]],
    base_folder: Path,
    out: Path,
    *,
    method: str = "task-arithmetic",
    density: float = 1.0,
    mean: bool = False,
    rank: int | None = None,
    seed: int = 0,
    base_name: str | None = None,
    on_progress: Progress | None = None,
) -> Merged:
    """Write theta0 + sum_i a_i (theta_i - theta0), or what another method makes, as an adapter of the base.

    Args:
        parents: name -> adapter folder and weight a_i.
        base_folder: pipeline that all of them belong to.
        out: folder to write; must be free.
        method: name in `merging.methods.METHODS`.
        density: share of each difference that is kept, where the method has one.
        mean: the mean over the models that agree, where the method elects signs.
        rank: largest rank of a LoRA; None: the sum of the parents' ranks.
        seed: of what is dropped at random.
        base_name: how people call the base.
        on_progress: called with ("merging", done, total).

    Raises:
        SettingsError: no parents or one twice, a number out of range, a rank for a U-Net, or `out` is taken.
        MissingModelError, DamagedModelError, MismatchError: a parent cannot be read or belongs to another base, or
            the base's U-Net cannot be read tensor by tensor.
        ModelError: a sum is not finite in the numbers that it is written in.
        StorageError: the disk refused; nothing is left.
    """
    recipe, weights = Recipe(method, density, mean, seed), check_weights(parents)
    check_rank(rank)
    facts = {name: inspect_image_adapter(folder) for name, (folder, _) in parents.items()}
    for fact in facts.values():
        check_image_fit(fact, base_folder)
    digests = {name: fact.digest for name, fact in facts.items()}
    check_distinct(digests)
    check_free(out)
    whole = [name for name, fact in facts.items() if fact.kind == "unet"]
    kind: Kind = "unet" if whole else "image-lora"
    if whole and rank is not None:
        raise SettingsError(f"{whole[0]!r} is a whole U-Net, so the result has no rank: leave rank out")
    found = _Found(out, kind, facts, weights, digests, recipe)
    called, base = base_name or shared_name(base_folder), pipeline_digest(base_folder)
    write, merged = _unet(found, base_folder / "unet") if whole else _lora(found, rank, on_progress)
    with whole_folder(out) as fresh:
        write(fresh, on_progress)
        write_card(fresh, merged_card(merged, called, {"base_sha256": base}), image_adapter_digest(fresh))
    remember_base(ModelReference(str(base_folder)), base)
    return merged


@dataclass(frozen=True)
class _Found:
    """A merge whose parents were inspected."""

    out: Path
    kind: Kind
    facts: Mapping[str, ImageAdapterFacts]
    weights: dict[str, float]
    digests: dict[str, str]
    recipe: Recipe

    def merged(self, rank: int = 0, error: float = 0.0) -> Merged:
        return Merged(self.out, self.kind, rank, self.weights, self.digests, self.recipe, error)


_Writer = Callable[[Path, Progress | None], None]


def _lora(found: _Found, rank: int | None, on_progress: Progress | None) -> tuple[_Writer, Merged]:
    parents = [
        LoraParent(fact.digest, read_image_lora(fact), found.weights[name]) for name, fact in found.facts.items()
    ]
    lora, error = merge_loras(parents, found.recipe, rank, on_progress)
    tensors: dict[str, torch.Tensor] = {}
    for layer, (a, b) in lora.layers.items():
        tensors |= {f"unet.{layer}.lora_A.weight": a, f"unet.{layer}.lora_B.weight": b}
    for name, tensor in tensors.items():
        check_sum(name, tensor, found.facts)

    def write(folder: Path, _progress: Progress | None) -> None:
        save_file(tensors, folder / LORA_WEIGHTS, {"format": "pt"})

    return write, found.merged(next(iter(lora.layers.values()))[0].shape[0], error)


def read_image_lora(facts: ImageAdapterFacts) -> Lora:
    """The matrices of an inspected LoRA; where layers have alphas of their own, each layer's scale within its B.

    Raises:
        MissingModelError, DamagedModelError: it changed since then, and cannot be read any more.
    """
    layers = read_layers(facts.weights, lora_key)
    if facts.settings is None or not (facts.settings.rank_pattern or facts.settings.alpha_pattern):
        return Lora(layers, facts.scale)
    return Lora({name: (a.float(), b.float() * facts.scale_of(name)) for name, (a, b) in layers.items()})


def _unet(found: _Found, base: Path) -> tuple[_Writer, Merged]:
    """Open the base's U-Net and the parents, so that nothing that is wrong with them is found while writing.

    Raises:
        MissingModelError, DamagedModelError: a file of them cannot be read, or the base's U-Net is in several.
    """
    file = base / UNET_WEIGHTS
    if not file.is_file():
        there = ", ".join(sorted(path.name for path in base.glob("*.safetensors")))
        raise MissingModelError(
            f"{base} holds no {UNET_WEIGHTS} (there is {there}), and whole U-Nets are merged from one file: save the "
            "base with `save_pretrained(..., max_shard_size='1TB')`, or merge LoRAs"
        )
    origin = open_stored([file])
    parents = []
    for name, fact in found.facts.items():
        if fact.kind == "unet" and _sizes(origin.shapes) != fact.shapes:
            raise DamagedModelError(f"{file} has other tensors than {base / UNET_CONFIG} says: download it again")
        source = open_stored([fact.weights], finite=False) if fact.kind == "unet" else read_image_lora(fact)
        parents.append(SumParent(name, fact.digest, found.weights[name], source))
    try:
        config = (base / UNET_CONFIG).read_bytes()
    except OSError as error:
        raise unreadable(base / UNET_CONFIG, error) from error

    def write(folder: Path, on_progress: Progress | None) -> None:
        write_streamed(folder / UNET_WEIGHTS, origin.shapes, summed(origin, parents, found.recipe), on_progress)
        (folder / UNET_CONFIG).write_bytes(config)

    return write, found.merged()


def _sizes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, (shape, _) in shapes.items()}
