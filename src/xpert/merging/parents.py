"""What is checked of the models to merge before any of them is read. Knows names, weights and digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from xpert.errors import ModelError, SettingsError

MOST_WEIGHT = 10.0


def check_weights(parents: Mapping[str, tuple[Path, float]]) -> dict[str, float]:
    """Parent -> weight.

    Raises:
        SettingsError: no parents, or a weight that is no number from -10 to 10.
    """
    if not parents:
        raise SettingsError("no models to merge: give at least one with its weight, such as red=0.6")
    for name, (_, weight) in parents.items():
        if not -MOST_WEIGHT <= weight <= MOST_WEIGHT:
            raise SettingsError(f"weight {weight!r} of {name!r} is out of range: give a number from -10 to 10")
    return {name: float(weight) for name, (_, weight) in parents.items()}


def check_distinct(digests: Mapping[str, str]) -> None:
    """Refuse the same model under two names: its difference would count twice.

    Args:
        digests: parent -> digest of its content.

    Raises:
        SettingsError: two have the same.
    """
    seen: dict[str, str] = {}
    for name, digest in digests.items():
        if digest in seen:
            raise SettingsError(
                f"{seen[digest]!r} and {name!r} are the same model ({digest[:12]}…): give it once, with the sum of "
                "the weights"
            )
        seen[digest] = name


def check_rank(rank: int | None) -> None:
    """Refuse a rank below 1.

    Raises:
        SettingsError: it is.
    """
    if rank is not None and rank < 1:
        raise SettingsError(f"rank {rank} is too small: give 1 or more, or none for the sum of the parents' ranks")


def check_sum(name: str, tensor: torch.Tensor, parents: Iterable[str]) -> None:
    """Refuse a merged tensor that overflowed.

    Raises:
        ModelError: it holds numbers that are not finite.
    """
    if not torch.isfinite(tensor).all():
        raise ModelError(
            f"the weighted sum of {', '.join(parents)} is not finite in {name} ({tensor.dtype}): use smaller weights, "
            "or a base in fp32"
        )
