"""DARE: drop at random and rescale (Yu et al., 2024, "Language Models are Super Mario", section 3.2).

Fine-tuning changes more numbers than it needs: most can be dropped if the rest are made larger, and models that keep
different numbers are in each other's way less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from xpert.merging.task_arithmetic import task_arithmetic
from xpert.merging.ties import agreeing

Masks = Callable[[int, torch.Size], torch.Tensor]
"""Number of a delta, its shape -> what is kept of it: booleans, or zeros and ones."""


def dare(deltas: Iterable[torch.Tensor], weights: Sequence[float], *, density: float, masks: Masks) -> torch.Tensor:
    """sum_i a_i m_i delta_i / density, with m_i of ones and zeros: the drop of p = 1 - density, then the sum.

    Args:
        deltas: delta_i = theta_i - theta_0 of one tensor, fp32, all of one shape; at least one.
        weights: a_i.
        density: share of each delta that is kept.
        masks: draws m_i.
    """
    return task_arithmetic(_dropped(deltas, density, masks), weights)


def dare_ties(
    deltas: Iterable[torch.Tensor], weights: Sequence[float], *, density: float, masks: Masks, mean: bool = False
) -> torch.Tensor:
    """DARE in place of TIES's trimming, then its election of signs.

    Args:
        deltas, weights, density, masks: as `dare`.
        mean: as `agreeing`.
    """
    return agreeing(list(_dropped(deltas, density, masks)), weights, mean=mean)


def _dropped(deltas: Iterable[torch.Tensor], density: float, masks: Masks) -> Iterator[torch.Tensor]:
    for number, delta in enumerate(deltas):
        yield delta if density >= 1 else delta * masks(number, delta.shape) / density
