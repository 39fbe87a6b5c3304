"""Words of a vocabulary by how near they lie to an embedding. Knows vectors; no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xpert.space.words import merge_candidates
from xpert.summarizing.summarizer import FloatArray, Proposal

_TEMPERATURE = 0.05
_LEAST = 1e-12


def ranked_words(mean: FloatArray, words: Sequence[str], vectors: FloatArray, limit: int) -> list[Proposal]:
    """p_k = softmax(cos(mean, v_k) / 0.05), most probable first.

    Args:
        mean: mean embedding (d,) of pairs.
        words: k of them.
        vectors: their directions, shape (k, d); one of length 0 has cosine 0.
        limit: words at most.
    """
    lengths = np.linalg.norm(vectors, axis=1) * max(float(np.linalg.norm(mean)), _LEAST)
    scores = np.exp((vectors @ mean) / np.maximum(lengths, _LEAST) / _TEMPERATURE)
    ranked = merge_candidates(zip(words, (scores / scores.sum()).tolist(), strict=True))
    return [Proposal(word, probability) for word, probability in ranked[:limit]]
