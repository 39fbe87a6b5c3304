"""Words that lie opposite each other are the two poles of one axis. Knows arrays only."""

from __future__ import annotations

import numpy as np

from xpert.space.decomposition import FloatArray

E_POLE = 0.7


def pair_poles(vectors: FloatArray, e_pole: float = E_POLE) -> FloatArray:
    """Put opposite directions on one line: u_a = (n_a - n_b) / 2 and u_b = -u_a, n = u / |u|.

    What two opposite directions share is no difference between them, yet a non-negative combination would
    explain it by both at once. Pairs are formed from the smallest cosine up, each row in one pair at most.

    Args:
        vectors: directions, shape (k, d); rows of length 0 stay.
        e_pole: two rows are opposite when their cosine is at most -e_pole.

    Returns:
        Directions, shape (k, d); rows without an opposite as they were.
    """
    paired = np.array(vectors, dtype=np.float64)
    lengths = np.linalg.norm(paired, axis=1, keepdims=True)
    unit = paired / np.where(lengths > 0, lengths, 1.0)
    cosines = unit @ unit.T
    order = np.dstack(np.unravel_index(np.argsort(cosines, axis=None, kind="stable"), cosines.shape))[0]
    free = set(range(len(paired)))
    for a, b in order.tolist():
        if cosines[a, b] > -e_pole:
            break
        if a in free and b in free:
            paired[a] = (unit[a] - unit[b]) / 2
            paired[b] = -paired[a]
            free -= {a, b}
    return paired
