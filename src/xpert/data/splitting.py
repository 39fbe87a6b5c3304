"""Samples -> training and validation data that share no prompt.

Knows lists of samples only; draws by seed, independent of the process and its hash seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from random import Random

from xpert.errors import SettingsError
from xpert.records import Sample


def split_samples(
    samples: Sequence[Sample], *, validation: float | int, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Part samples into (train, validation); rows with one prompt stay together, so nothing leaks.

    Prompts that differ only in case or white space are one prompt; rows without a prompt are independent. Whole groups
    are drawn while they fit, so the validation side has at most the rows asked for; only where every group is larger,
    it is the smallest group. Both sides keep the order of `samples`.

    Args:
        samples: at least two rows.
        validation: an int is a number of rows, a float between 0 and 1 a share of them (rounded half up).
        seed: decides which rows are drawn.

    Raises:
        SettingsError: `validation` is out of range, or a side would be empty.
    """
    target = _target(len(samples), validation)
    groups: dict[str | int, list[int]] = {}
    for place, sample in enumerate(samples):
        key = place if sample.prompt is None else " ".join(sample.prompt.split()).casefold()
        groups.setdefault(key, []).append(place)
    if len(groups) < 2:
        raise SettingsError(
            f"all {len(samples)} samples have the same prompt, so one side of the split would be empty: give samples "
            "with other prompts, or validation data of their own"
        )
    drawn = list(groups.values())
    Random(f"{seed}/split").shuffle(drawn)
    chosen: set[int] = set()
    for group in drawn:
        if len(chosen) + len(group) <= target:
            chosen.update(group)
    if not chosen:
        smallest: list[int] = min(drawn, key=len)
        chosen.update(smallest)
    train = [sample for place, sample in enumerate(samples) if place not in chosen]
    return train, [samples[place] for place in sorted(chosen)]


def _target(count: int, validation: float | int) -> int:
    """The number of validation rows asked for, between 1 and count - 1."""
    if isinstance(validation, bool) or (isinstance(validation, float) and not 0 < validation < 1) or validation <= 0:
        raise SettingsError(
            f"validation is {validation}: give a number of rows (an int from 1) or a share of them (a float between 0 "
            "and 1)"
        )
    if isinstance(validation, float):
        target = math.floor(Fraction(repr(validation)) * count + Fraction(1, 2))
    else:
        target = validation
    for side, empty in (("validation", target < 1), ("training", target >= count)):
        if empty:
            raise SettingsError(
                f"validation {validation} of {count} samples leaves the {side} side empty: give more samples, or "
                f"{'a larger' if side == 'validation' else 'a smaller'} validation"
            )
    return target
