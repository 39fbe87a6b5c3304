"""Several LoRA adapters become one, of whatever ranks and layers. Knows matrices by layer; no files.

A LoRA changes a weight by s B A. The weighted sum of several is one LoRA of the ranks' sum (concatenation):
sum_i a_i s_i B_i A_i = [a_1 s_1 B_1 ... a_n s_n B_n] [A_1; ...; A_n]. Other methods need the matrices B A themselves,
one layer at a time, and what they give is brought to a low rank again. A layer that an adapter does not have
contributes nothing to it, and all layers get one rank, filled up with zeros, so that plain loaders open the result:
several of them know one rank an adapter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from xpert.errors import MismatchError
from xpert.merging.methods import Recipe
from xpert.merging.truncation import truncate_dense, truncate_product


@dataclass(frozen=True)
class Lora:
    """A LoRA in memory.

    Attributes:
        layers: layer -> (A, B); A is (r, in, ...), B is (out, r, ...): linear layers or convolutions.
        scale: s = alpha / r.
    """

    layers: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    scale: float = 1.0


@dataclass(frozen=True)
class LoraParent:
    """One adapter of a merge.

    Attributes:
        digest: of its content.
        lora: its matrices.
        weight: a_i.
    """

    digest: str
    lora: Lora
    weight: float


def merge_loras(
    parents: Sequence[LoraParent],
    recipe: Recipe,
    rank: int | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Lora, float]:
    """One LoRA of scale 1, in fp32, and its relative error sqrt(sum_layers ||D - B A||^2 / sum_layers ||D||^2).

    D is the merged difference of a layer. By task arithmetic and without a rank the error is 0.

    Args:
        parents: adapters and weights; at least one.
        recipe: how to merge.
        rank: largest rank of the result; None: the sum of the parents' ranks, as the layer with the largest has it.
        on_progress: called with ("merging", done, total) after every layer.

    Raises:
        MismatchError: two adapters give a layer different sizes.
    """
    joined = concatenate([(parent.lora, parent.weight) for parent in parents])
    full = _rank(joined)
    rank = full if rank is None else rank
    if recipe.keeps_low_rank and rank >= full:
        return joined, 0.0
    layers, lost, whole = dict[str, tuple[torch.Tensor, torch.Tensor]](), 0.0, 0.0
    for done, (name, (a, b)) in enumerate(joined.layers.items(), 1):
        kernel = a.shape[1:]
        if recipe.keeps_low_rank:
            found = truncate_product(a.flatten(1), b.flatten(1), rank)
        else:
            found = truncate_dense(_merged_difference(parents, recipe, name).flatten(1), rank, recipe.seed)
        layers[name] = found.a.reshape(-1, *kernel), found.b.reshape(*found.b.shape, *b.shape[2:])
        lost, whole = lost + found.lost, whole + found.whole
        if on_progress is not None:
            on_progress("merging", done, len(joined.layers))
    return one_rank(layers), math.sqrt(lost / whole) if whole else 0.0


def _merged_difference(parents: Sequence[LoraParent], recipe: Recipe, layer: str) -> torch.Tensor:
    having = [parent for parent in parents if layer in parent.lora.layers]
    deltas = (dense(parent.lora, layer) for parent in having)
    weights, digests = [parent.weight for parent in having], [parent.digest for parent in having]
    return recipe.merge(f"{layer}.weight", deltas, weights, digests)


def _rank(lora: Lora) -> int:
    return max(a.shape[0] for a, _ in lora.layers.values())


def concatenate(parents: Sequence[tuple[Lora, float]]) -> Lora:
    """sum_i a_i s_i B_i A_i as one LoRA of scale 1, in fp32.

    Args:
        parents: adapters and weights a_i.

    Raises:
        MismatchError: two adapters give a layer different sizes.
    """
    names = sorted({name for lora, _ in parents for name in lora.layers})
    joined = {}
    for name in names:
        downs: list[torch.Tensor] = []
        ups: list[torch.Tensor] = []
        for lora, weight in parents:
            if name not in lora.layers:
                continue
            a, b = (side.to(torch.float32) for side in lora.layers[name])
            if downs and (a.shape[1:] != downs[0].shape[1:] or b.shape[0] != ups[0].shape[0]):
                raise MismatchError(
                    f"layer {name!r} has other sizes in two adapters ({tuple(a.shape)} and {tuple(downs[0].shape)}): "
                    "merge adapters of one base"
                )
            downs.append(a)
            ups.append(weight * lora.scale * b)
        joined[name] = torch.cat(downs), torch.cat(ups, dim=1)
    return one_rank(joined)


def one_rank(layers: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> Lora:
    """A LoRA of scale 1 whose layers all have the largest rank among them, filled up with zeros."""
    rank = max(a.shape[0] for a, _ in layers.values())
    return Lora({name: (_filled(a, rank, 0), _filled(b, rank, 1)) for name, (a, b) in layers.items()})


def _filled(side: torch.Tensor, rank: int, axis: int) -> torch.Tensor:
    """Zeros up to the common rank, so that every layer has the same one."""
    missing = rank - side.shape[axis]
    if missing == 0:
        return side.contiguous()
    shape = list(side.shape)
    shape[axis] = missing
    return torch.cat([side, torch.zeros(shape, dtype=side.dtype)], dim=axis).contiguous()


def dense(lora: Lora, layer: str) -> torch.Tensor:
    """s B A of one layer, in the shape of the layer's weight, in fp32."""
    a, b = (side.to(torch.float32) for side in lora.layers[layer])
    return (lora.scale * (b.flatten(1) @ a.flatten(1))).reshape(b.shape[0], *a.shape[1:])
