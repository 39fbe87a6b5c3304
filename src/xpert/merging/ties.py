"""TIES: trim, elect a sign, merge what agrees (Yadav et al., 2023, "TIES-Merging", section 3.2).

Differences of several models pull many numbers of a tensor in opposite directions, and most of the small ones are
noise. Trimming keeps each model's largest; where the kept ones still disagree, the side with more mass has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch


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
    magnitude = flat.abs()
    least = float(np.partition(magnitude.numpy(), size - kept)[size - kept])
    mask = magnitude > least
    level = (magnitude == least).nonzero().reshape(-1)
    mask[level[: kept - int(mask.sum())]] = True
    return torch.where(mask, flat, 0.0).reshape(delta.shape)


def agreeing(deltas: Sequence[torch.Tensor], weights: Sequence[float], *, mean: bool = False) -> torch.Tensor:
    """The weighted sum of the numbers whose sign is the elected one; no mass on either side counts as plus.

    Args:
        deltas: trimmed differences of one shape; at least one.
        weights: a_i.
        mean: elect by the sum of the bare differences and divide by how many agree, as the paper does; without it,
            by the weighted sum, and nothing is divided, so that a model that agrees with all keeps its weight.
    """
    votes = [delta if mean else delta * weight for delta, weight in zip(deltas, weights, strict=True)]
    plus = sum(votes[1:], votes[0].clone()) >= 0
    total = torch.zeros_like(votes[0])
    count = torch.zeros_like(votes[0])
    for vote, weight in zip(votes, weights, strict=True):
        agrees = torch.where(plus, vote > 0, vote < 0)
        total += torch.where(agrees, vote * weight if mean else vote, 0.0)
        count += agrees
    return total / count.clamp(min=1) if mean else total
