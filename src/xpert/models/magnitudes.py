"""How large the numbers of an adapter are, and how large they may be; knows bytes only.

An adapter adds s B A to a layer's weights. Numbers may be finite, and their product, or what a layer makes of it, no
number any more: with a factor of 10 000 a block of a model still answers with numbers that bf16 and fp32 hold, although
several factors are multiplied and squared in it. Adapters of people lie far below: |s B A| is rarely above 100.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xpert.errors import DamagedModelError
from xpert.models.headers import TensorEntry, finite_pieces

if TYPE_CHECKING:
    from xpert.models.headers import Bits

MOST_VALUE = 1e4
"""Largest size of one number of A or B."""

MOST_PRODUCT = 1e4
"""Largest |s| |B| |A| of a layer (Frobenius norms), above which the length of s B A cannot lie."""


@dataclass(frozen=True, slots=True)
class Magnitude:
    """Of one tensor: its Frobenius norm, and the size of its largest number."""

    norm: float
    largest: float


def read_magnitudes(path: Path, entries: tuple[TensorEntry, ...]) -> dict[str, Magnitude]:
    """Name -> magnitude of every tensor of a file; reads it once, in pieces.

    Raises:
        MissingModelError, DamagedModelError: as `headers.finite_pieces`.
    """
    squares, largest = dict.fromkeys((entry.name for entry in entries), 0.0), dict[str, float]()
    for entry, bits in finite_pieces(path, entries):
        values = _numbers(entry.dtype, bits)
        most = float(np.abs(values).max(initial=0.0))
        largest[entry.name] = max(most, largest.get(entry.name, 0.0))
        if most <= MOST_VALUE:  # larger ones are refused, and their squares need not be numbers
            squares[entry.name] += float(np.square(values).sum())
    return {name: Magnitude(math.sqrt(total), largest.get(name, 0.0)) for name, total in squares.items()}


def _numbers(dtype: str, bits: Bits) -> np.ndarray:
    """The numbers in fp64, so that their squares are exact enough."""
    if dtype == "BF16":
        return (bits.astype("<u4") << 16).view("<f4").astype(np.float64)
    return bits.view(f"<f{bits.dtype.itemsize}").astype(np.float64)


def check_magnitudes(path: Path, found: dict[str, Magnitude], layers: Iterable[tuple[str, str, str, float]]) -> None:
    """Refuse an adapter whose numbers are finite and absurd.

    Args:
        path: of the file, for the error.
        found: name of a tensor -> its magnitude.
        layers: layer, names of its A and B, and s.

    Raises:
        DamagedModelError: a number above `MOST_VALUE`, or a layer above `MOST_PRODUCT`.
    """
    for name, magnitude in found.items():
        if magnitude.largest > MOST_VALUE:
            raise DamagedModelError(
                f"{path}: tensor {name!r} holds a number of size {magnitude.largest:.3g}, at most {MOST_VALUE:g} is "
                "read: its training diverged, or the file is damaged; tune again with a smaller learning rate, or "
                "fetch the file again"
            )
    for layer, a, b, scale in layers:
        product = abs(scale) * found[a].norm * found[b].norm
        if product > MOST_PRODUCT:
            raise DamagedModelError(
                f"{path}: layer {layer!r} would change by up to {product:.3g} (|s| |B| |A|, s = {scale:g}), at most "
                f"{MOST_PRODUCT:g} is read, and usual adapters stay below 100: check alpha and rank, or tune again "
                "with a smaller learning rate"
            )
