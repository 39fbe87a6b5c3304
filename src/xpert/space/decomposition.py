"""Coefficients of an embedding over a basis. Knows arrays only.

V = sum_k z_k u_k + r (paper, section 4.2). The public script divided by |e| and multiplied by e, so a
planted mixture came back wrong; here z is the least-squares solution and r is orthogonal to every u_k.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lstsq

from xpert.errors import SpaceError

FloatArray = NDArray[np.float64]


def decompose(embeddings: FloatArray, vectors: FloatArray) -> FloatArray:
    """Least-squares coefficients z = argmin ||V - z U||.

    Args:
        embeddings: V, one vector (d,) or n of them (n, d), relative to the origin of the space.
        vectors: U, shape (k, d), one row a word.

    Returns:
        z, shape (k,) or (n, k). Linear in V, so the mean of coefficients is the coefficients of the mean.

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
    flat = embeddings.reshape(-1, embeddings.shape[-1])
    solution = lstsq(vectors.T, flat.T, lapack_driver="gelsd")[0]
    return np.asarray(solution.T, dtype=np.float64).reshape(*embeddings.shape[:-1], len(vectors))


def residual_share(embedding: FloatArray, vectors: FloatArray) -> float:
    """||V - z U|| / ||V||, 0 to 1; 0 for a zero embedding."""
    length = float(np.linalg.norm(embedding))
    if length == 0.0:
        return 0.0
    rest = embedding - decompose(embedding, vectors) @ vectors if len(vectors) else embedding
    return min(1.0, float(np.linalg.norm(rest)) / length)


def overlap(vector: FloatArray, vectors: FloatArray) -> float:
    """Largest |cosine| of a vector with any row; 0 without rows.

    The largest, not a sum, and its size, not its sign: no negative cosine can hide a positive one.
    """
    if len(vectors) == 0:
        return 0.0
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector)
    if not (lengths > 0).all():
        raise SpaceError("a sub-vector has length 0: its word says nothing to this summarizer; leave the word out")
    return float(np.max(np.abs(vectors @ vector) / lengths))
