"""Coefficients of an embedding over a basis. Knows arrays only.

V = sum_k z_k u_k + r with z >= 0 (paper, section 4.2). The public script divided by |e| and multiplied by e, so
a planted mixture came back wrong; here z is the non-negative least-squares solution. Non-negative,
because words come as poles: "expert" and "elementary" may lie opposite each other, and an explanation names
the one that holds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from xpert.errors import SpaceError

FloatArray = NDArray[np.float64]


def decompose(embeddings: FloatArray, vectors: FloatArray) -> FloatArray:
    """Non-negative least squares: z = argmin ||V - z U||, z >= 0.

    Solved in the span of U (QR), so d costs little.

    Args:
        embeddings: V, one vector (d,) or n of them (n, d), relative to the origin of the space.
        vectors: U, shape (k, d), one row a word.

    Returns:
        z, shape (k,) or (n, k).

    Raises:
        SpaceError: widths differ, or a number is not finite.
    """
    if embeddings.shape[-1] != vectors.shape[1]:
        raise SpaceError(
            f"embedding has {embeddings.shape[-1]} numbers, the space expects {vectors.shape[1]}: "
            "explain with the summarizer that the space was built with"
        )
    if not np.isfinite(embeddings).all():
        raise SpaceError("embedding holds numbers that are not finite: run the summarizer in a wider number format")
    if len(vectors) == 0:
        return np.zeros((*embeddings.shape[:-1], 0))
    span, square = np.linalg.qr(vectors.T)
    flat = embeddings.reshape(-1, embeddings.shape[-1]) @ span
    solved = np.array([nnls(square, row)[0] for row in flat], dtype=np.float64)
    return solved.reshape(*embeddings.shape[:-1], len(vectors))


def residual_share(embedding: FloatArray, vectors: FloatArray) -> float:
    """||V - z U|| / ||V||, 0 to 1; 0 for a zero embedding."""
    length = float(np.linalg.norm(embedding))
    if length == 0.0:
        return 0.0
    rest = embedding - decompose(embedding, vectors) @ vectors if len(vectors) else embedding
    return min(1.0, float(np.linalg.norm(rest)) / length)


def orthonormal(rows: FloatArray, most: int | None = None, tolerance: float = 1e-6) -> FloatArray:
    """An orthonormal basis of the span of rows (n, d), widest direction first; shape (m, d), m <= `most`.

    A direction counts when its singular value is above `tolerance` times the largest.
    """
    if len(rows) == 0:
        return np.zeros((0, rows.shape[1]))
    _, sizes, directions = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(directions[sizes > tolerance * sizes[0]][:most] if sizes[0] > 0 else directions[:0])


def overlap(vector: FloatArray, vectors: FloatArray) -> float:
    """Largest cosine of a vector with any row, at least 0; 0 without rows.

    The largest, not a sum: no negative cosine can hide a positive one. A row that lies opposite is the other
    pole of an axis and no overlap.
    """
    if len(vectors) == 0:
        return 0.0
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector)
    if not (lengths > 0).all():
        raise SpaceError("a sub-vector has length 0: its word says nothing to this summarizer; leave the word out")
    return max(0.0, float(np.max(vectors @ vector / lengths)))
