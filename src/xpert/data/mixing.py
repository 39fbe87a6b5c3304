"""Stylistic and default data, mixed by similarity, as the evaluation of XPerT (MobiSys 2025) makes its pLLMs.

Knows lists of samples only; draws by seed, independent of the process and its hash seed.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from random import Random

from xpert.errors import SettingsError
from xpert.records import Sample


def mix(
    stylistic: Sequence[Sample],
    default: Sequence[Sample],
    *,
    similarity: float,
    count: int | None = None,
    seed: int,
) -> list[Sample]:
    """Draw rows of both sides without replacement, and shuffle them.

    Similarity s is the share of stylistic rows: of N rows, floor(s N + 1/2) are stylistic (rounded half up; s is read
    as the decimal number that it prints as), and the rest are default. With one seed, the stylistic rows at a smaller
    similarity are among those at a larger one of the same N, so runs over several similarities are comparable.

    Args:
        stylistic: rows in the person's style.
        default: unstylized rows.
        similarity: s, 0 to 1.
        count: N; None: the largest that both sides allow.
        seed: decides the draw and the order.

    Raises:
        SettingsError: `similarity` or `count` is out of range, or a side has too few rows.
    """
    if not 0 <= similarity <= 1:  # refuses NaN too
        raise SettingsError(f"similarity is {similarity}: it is the share of stylistic rows, from 0 to 1")
    share = Fraction(repr(float(similarity)))
    if count is None:
        count = _largest_count(share, len(stylistic), len(default))
        if count == 0:
            raise SettingsError(
                f"no row can be drawn at similarity {similarity} from {len(stylistic)} stylistic and {len(default)} "
                "default rows: give rows of both sides"
            )
    if count < 1:
        raise SettingsError(f"count is {count}: at least one row must be drawn, or None for as many as there are")
    wanted = _stylistic_count(share, count)
    for name, rows, need in (("stylistic", stylistic, wanted), ("default", default, count - wanted)):
        if need > len(rows):
            raise SettingsError(
                f"similarity {similarity} of {count} rows needs {need} {name} rows, there are {len(rows)}: "
                f"give more {name} rows, or a count of at most "
                f"{_largest_count(share, len(stylistic), len(default))}"
            )
    drawn = [*_draw(stylistic, wanted, f"{seed}/stylistic"), *_draw(default, count - wanted, f"{seed}/default")]
    Random(f"{seed}/order").shuffle(drawn)
    return drawn


def _stylistic_count(share: Fraction, count: int) -> int:
    return math.floor(share * count + Fraction(1, 2))


def _largest_count(share: Fraction, stylistic: int, default: int) -> int:
    """The largest N with floor(s N + 1/2) <= stylistic and the rest <= default; both grow with N, so bisect."""

    def too_many(count: int) -> bool:
        wanted = _stylistic_count(share, count)
        return wanted > stylistic or count - wanted > default

    return bisect_left(range(1, stylistic + default + 1), True, key=too_many)


def _draw(rows: Sequence[Sample], count: int, seed: str) -> list[Sample]:
    # Random turns a string seed into numbers by SHA-512, never by hash(), so PYTHONHASHSEED has no say.
    order = list(range(len(rows)))
    Random(seed).shuffle(order)
    return [rows[place] for place in order[:count]]
