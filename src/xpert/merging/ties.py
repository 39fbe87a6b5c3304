"""TIES: trim, elect a sign, merge what agrees (Yadav et al., 2023, "TIES-Merging", section 3.2).

Differences of several models pull many numbers of a tensor in opposite directions, and most of the small ones are
noise. Trimming keeps each model's largest; where the kept ones still disagree, the side with more mass has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

_PIECE = 2**16
"""Numbers of a tensor that are merged at once, so that what is needed on the way stays small."""


def ties(
    deltas: Iterable[torch.Tensor], weights: Sequence[float], *, density: float = 1.0, mean: bool = False
) -> torch.Tensor:
    """sum_i a_i t_i over the models whose sign is the elected one; t_i is delta_i trimmed to its largest numbers.

    Args:
        deltas: delta_i = theta_i - theta_0 of one tensor, fp32, all of one shape; at least one.
        weights: a_i.
        density: share of each delta that is kept, by magnitude; at least one number is.
        mean: as in `agreeing`.
    """
    return agreeing([trim(delta, density) for delta in deltas], weights, mean=mean)


def trim(delta: torch.Tensor, density: float) -> torch.Tensor:
    """The int(density x size) numbers of the largest magnitude, at least one; zeros elsewhere.

    Of equal magnitudes the first are kept, so that the same delta gives the same result.
    """
    size = delta.numel()
    kept = max(1, int(density * size))
    if kept >= size:
        return delta
    flat = delta.reshape(-1)
    magnitude = flat.abs().numpy()
    magnitude.partition(size - kept)
    least = float(magnitude[size - kept])
    del magnitude
    mask = (flat > least).logical_or_(flat < -least)
    level = (flat == least).logical_or_(flat == -least).nonzero().reshape(-1)
    mask[level[: kept - int(mask.count_nonzero())]] = True
    return torch.where(mask, flat, 0.0).reshape(delta.shape)


def agreeing(deltas: Sequence[torch.Tensor], weights: Sequence[float], *, mean: bool = False) -> torch.Tensor:
    """The weighted sum of the numbers whose sign is the elected one; no mass on either side counts as plus.

    Args:
        deltas: trimmed differences of one shape; at least one.
        weights: a_i.
        mean: elect by the sum of the bare differences and divide by how many agree, as the paper does; without it,
            by the weighted sum, and nothing is divided, so that a model that agrees with all keeps its weight.
    """
    shape, size = deltas[0].shape, deltas[0].numel()
    factors = torch.tensor(weights, dtype=deltas[0].dtype)[:, None]
    merged = torch.empty(size, dtype=deltas[0].dtype)
    for first in range(0, size, _PIECE):
        bare = torch.stack([delta.reshape(-1)[first : first + _PIECE] for delta in deltas])
        pulls = bare * factors
        votes = bare if mean else pulls
        agrees = torch.where(votes.sum(0) >= 0, votes > 0, votes < 0)
        total = (pulls * agrees).sum(0)
        merged[first : first + _PIECE] = total / agrees.sum(0).clamp(min=1) if mean else total
    return merged.reshape(shape)
