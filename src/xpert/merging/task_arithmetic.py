"""Task arithmetic: the weighted sum of differences (Ilharco et al., 2023, "Editing Models with Task Arithmetic")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch


def task_arithmetic(deltas: Iterable[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """sum_i a_i delta_i; one delta at a time is in memory.

    Args:
        deltas: delta_i = theta_i - theta_0 of one tensor, fp32, all of one shape; at least one.
        weights: a_i.
    """
    total: torch.Tensor | None = None
    rest = iter(weights)
    for delta in deltas:  # no zip: it would keep one delta while the next is made
        weight = next(rest)
        total = delta * weight if total is None else total.add_(delta, alpha=weight)
        del delta
    if total is None:
        raise ValueError("no differences to add up: give at least one")
    return total
