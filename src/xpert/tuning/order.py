"""Which samples belong to which step of an epoch: the same for torch and for devices. Knows lengths only."""

from __future__ import annotations

import random
from collections.abc import Sequence

_WINDOW_STEPS = 8


def epoch_groups(lengths: Sequence[int], steps: int, seed: str) -> list[list[int]]:
    """Samples of each step of one epoch, by their place; those of one step are of like length, shortest first.

    Args:
        lengths: of the samples, in tokens.
        steps: of the epoch; the groups' sizes differ by 1 at most.
        seed: of the order.
    """
    rng = random.Random(seed)
    order = list(range(len(lengths)))
    rng.shuffle(order)
    size, larger = divmod(len(order), steps)
    sizes = [size + (number < larger) for number in range(steps)]
    rng.shuffle(sizes)
    window = max(2, min(_WINDOW_STEPS, steps // 3))
    groups, done = list[list[int]](), 0
    for begin in range(0, len(sizes), window):
        cut = sizes[begin : begin + window]
        near = sorted(order[done : done + sum(cut)], key=lambda index: lengths[index])
        done += sum(cut)
        for count in cut:
            groups.append(near[:count])
            near = near[count:]
    rng.shuffle(groups)
    return groups
