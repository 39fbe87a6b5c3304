"""The exact sum of LoRA adapters, of whatever ranks and layers. Knows matrices by layer; no files.

A LoRA changes a weight by s B A. The weighted sum of several is one LoRA of the ranks' sum (concatenation):
sum_i a_i s_i B_i A_i = [a_1 s_1 B_1 ... a_n s_n B_n] [A_1; ...; A_n]. A layer that an adapter does not have
contributes nothing to it, and all layers get one rank, filled up with zeros, so that plain loaders open the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from xpert.errors import MismatchError


@dataclass(frozen=True)
class Lora:
    """A LoRA in memory.

    Attributes:
        layers: layer -> (A, B); A is (r, in, ...), B is (out, r, ...): linear layers or convolutions.
        scale: s = alpha / r.
    """

    layers: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    scale: float = 1.0


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
    rank = max(a.shape[0] for a, _ in joined.values())
    return Lora({name: (_filled(a, rank, 0), _filled(b, rank, 1)) for name, (a, b) in joined.items()})


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
