"""How far two explanations lie apart. Knows coefficients only; never sees weights or texts."""

from __future__ import annotations

import numpy as np

from xpert.space.decomposition import FloatArray


def direction_distance(one: FloatArray, other: FloatArray) -> float:
    """1 - cosine of two coefficient vectors (k,), 0 to 2; 1 where one of them is zero.

    A pLLM tuned on little stylistic data points the right way but is short, so kinds are compared by
    direction; `gap` compares lengths too.
    """
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return 1.0 if lengths == 0.0 else float(np.clip(1.0 - float(one @ other) / lengths, 0.0, 2.0))


def gap(one: FloatArray, other: FloatArray) -> float:
    """||one - other||, in units of a full style."""
    return float(np.linalg.norm(one - other))
