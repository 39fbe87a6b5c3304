"""The append-only basis of explanations, and Algorithm 1 that grows it. Knows arrays and words only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xpert.errors import SpaceError
from xpert.space.decomposition import FloatArray, decompose, orthonormal, overlap, residual_share

E_ORTHO = 0.85
E_DECOMP = 0.35
MOST_BEYOND = 8
OPPOSITE = -0.999
"""Cosine of two words that are the poles of one axis; `pair_poles` makes it -1."""


@dataclass(frozen=True, eq=False)
class Space:
    """Words and their sub-vectors, with the origin from which differences are measured.

    Attributes:
        words: k words, in the order in which they were added.
        vectors: U, shape (k, d); every row has length `scale`, so z_k = 1 is one full style.
        origin: mean embedding of (base, base) pairs, shape (d,): what is common to every pair.
        null: embeddings of (base, base) pairs, shape (m, d): the noise.
        scale: common length of the rows.
        summarizer: identity of the summarizer.
        base: digest of the base model.
        prompts: digest of the probe prompts and how they were answered.
        e_ortho: largest cosine with a chosen row that a new word may have.
        e_decomp: residual share at which words are enough.
        axes: orthonormal rows (m, d): the span of the words, then what pLLMs have that no word says; None: the
            span of the words alone.
    """

    words: tuple[str, ...]
    vectors: FloatArray
    origin: FloatArray
    null: FloatArray
    scale: float
    summarizer: str
    base: str
    prompts: str
    e_ortho: float = E_ORTHO
    e_decomp: float = E_DECOMP
    axes: FloatArray | None = None

    @property
    def width(self) -> int:
        """d."""
        return int(self.origin.shape[0])

    @property
    def digest(self) -> str:
        """SHA-256 of words, vectors, origin, noise, axes and identities."""
        whole = hashlib.sha256("\0".join((*self.words, self.summarizer, self.base, self.prompts)).encode())
        for array in (self.vectors, self.origin, self.null, self.axes if self.axes is not None else self.vectors[:0]):
            whole.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return whole.hexdigest()

    def coefficients(self, embeddings: FloatArray) -> FloatArray:
        """z of embeddings (d,) or (n, d), measured from the origin."""
        return decompose(self._centred(embeddings), self.vectors)

    @property
    def word_axes(self) -> int:
        """How many of the axes, the first ones, are the span of the words."""
        return len(orthonormal(self.vectors))

    @property
    def all_axes(self) -> FloatArray:
        """The axes, shape (m, d): the span of the words where no others are known."""
        return self.axes if self.axes is not None else orthonormal(self.vectors)

    @property
    def word_places(self) -> FloatArray:
        """Coordinates of one full style of each word, shape (k, m)."""
        return np.asarray(self.vectors @ self.all_axes.T / self.scale)

    @property
    def opposites(self) -> tuple[tuple[int, int], ...]:
        """Pairs of words (places in `words`) that are the two poles of one axis."""
        unit = self.vectors / np.linalg.norm(self.vectors, axis=1, keepdims=True)
        return tuple((int(a), int(b)) for a, b in np.argwhere(unit @ unit.T < OPPOSITE) if a < b)

    def coordinates(self, embeddings: FloatArray) -> FloatArray:
        """Position along the axes, in units of a full style; (m,) or (n, m), measured from the origin."""
        return np.asarray(self._centred(embeddings) @ self.all_axes.T / self.scale)

    def coefficients_at(self, coordinates: FloatArray) -> FloatArray:
        """z of a point along the axes, or along the first of them; (k,).

        Raises:
            SpaceError: the point has more coordinates than there are axes.
        """
        axes = self.all_axes
        if len(coordinates) > len(axes):
            raise SpaceError(
                f"a point of {len(coordinates)} coordinates is of another space: this has {len(axes)} axes"
            )
        return decompose(coordinates @ axes[: len(coordinates)] * self.scale, self.vectors)

    def with_axes(self, means: FloatArray, most: int = MOST_BEYOND) -> Space:
        """This space with axes: the words' span, and the widest directions in which pLLMs go beyond it.

        Args:
            means: mean embeddings of pLLMs, shape (p, d).
            most: directions beyond the words, at most.
        """
        words = orthonormal(self.vectors)
        centred = self._centred(means)
        beyond = orthonormal(centred - centred @ words.T @ words, most, tolerance=1e-3)
        return replace(self, axes=np.concatenate([words, beyond]))

    def residual(self, embedding: FloatArray) -> float:
        """Share of a mean embedding (d,) that no word explains."""
        return residual_share(self._centred(embedding), self.vectors)

    def _centred(self, embeddings: FloatArray) -> FloatArray:
        if embeddings.shape[-1] != self.width:
            raise SpaceError(
                f"embedding has {embeddings.shape[-1]} numbers, the space expects {self.width}: "
                "explain with the summarizer that the space was built with"
            )
        return embeddings - self.origin

    def with_word(self, word: str, vector: FloatArray) -> Space:
        """This space and one more word; published coordinates keep their meaning and order.

        Args:
            word: a new word.
            vector: its direction, shape (d,), of any length but 0.

        Raises:
            SpaceError: the word is there, or the width or length does not fit.
        """
        if word in self.words:
            raise SpaceError(f"word {word!r} is in the space already")
        if vector.shape != (self.width,):
            raise SpaceError(f"sub-vector of {word!r} has shape {vector.shape}, the space expects ({self.width},)")
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0.0:
            raise SpaceError(f"sub-vector of {word!r} has length {length}: it says nothing to this summarizer")
        row = (vector * (self.scale / length))[None]
        return replace(self, words=(*self.words, word), vectors=np.concatenate([self.vectors, row]), axes=None)


def grow(
    space: Space,
    embedding: FloatArray,
    candidates: Sequence[tuple[str, float]],
    vectors_of: Callable[[Sequence[str]], FloatArray],
    *,
    most_words: int = 12,
) -> Space:
    """Algorithm 1 for one pLLM: add words until its embedding is explained.

    While the residual of V over the basis is larger than e_decomp, take the most probable candidate not
    yet chosen whose sub-vector has at most cosine e_ortho with every chosen one and that makes the
    residual smaller; then project again.

    Args:
        space: basis so far; not changed.
        embedding: V, shape (d,), mean over pairs.
        candidates: words and probabilities, most probable first.
        vectors_of: directions of words, shape (k, d), measured from the origin.
        most_words: the basis grows no larger than this.

    Returns:
        The space with the words it needed, at the end of the old ones.
    """
    waiting = [word for word, _ in candidates if word not in space.words]
    directions = dict(zip(waiting, vectors_of(waiting), strict=True)) if waiting else {}
    while waiting and len(space.words) < most_words and space.residual(embedding) > space.e_decomp:
        chosen = next((w for w in waiting if _fits(space, embedding, w, directions[w])), None)
        if chosen is None:
            break
        space = space.with_word(chosen, directions[chosen])
        waiting.remove(chosen)
    return space


def _fits(space: Space, embedding: FloatArray, word: str, direction: FloatArray) -> bool:
    if float(np.linalg.norm(direction)) == 0.0 or overlap(direction, space.vectors) > space.e_ortho:
        return False
    grown = space.with_word(word, direction)
    return bool(grown.coefficients(embedding)[-1] > 0)


def grow_over(
    space: Space,
    explained: Iterable[tuple[FloatArray, Sequence[tuple[str, float]]]],
    vectors_of: Callable[[Sequence[str]], FloatArray],
    *,
    most_words: int = 12,
) -> Space:
    """Algorithm 1 over pLLMs in the given order: the basis of each is the start of the next."""
    for embedding, candidates in explained:
        space = grow(space, embedding, candidates, vectors_of, most_words=most_words)
    return space
