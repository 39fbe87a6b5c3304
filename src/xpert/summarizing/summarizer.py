"""The seam between texts or pictures and numbers: pairs -> embeddings, pairs -> words, words -> embeddings.

For texts `language.LanguageSummarizer` (any instruct causal LM) and `encoder.EncoderSummarizer` (any sentence
encoder), for pictures `clip.ClipSummarizer`. All pass `xpert.testing.summarizers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeVar

from xpert.records import OutputPair

FloatArray = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
PairT = TypeVar("PairT", contravariant=True, default=OutputPair)
"""What a summarizer reads: pairs of texts unless it is said otherwise."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate word and its probability; probabilities of one proposal list sum to at most 1."""

    word: str
    probability: float


class Summarizer(Protocol[PairT]):
    """Reads what sets two texts, or two pictures, apart.

    The law:
        - `embed` MUST return finite numbers of shape (n, width), row j for pair j, and the row of a pair
          MUST NOT depend on the other pairs beyond rounding (1e-4 relative).
        - The same call MUST give the same bytes on the same machine.
        - `identity` MUST change when anything changes that shapes an embedding.
        - `propose` MUST return normalised, distinct words, most probable first; ties by the alphabet.
        - `word_vectors` MUST return shape (k, width): the direction in which `embed` moves when the
          second of a pair has more of the word. A word's row MUST NOT depend on the other words.
        - No method may change the pairs it is given.
    """

    @property
    def identity(self) -> str:
        """SHA-256 of model and wording."""
        ...

    @property
    def width(self) -> int:
        """d, the width of an embedding."""
        ...

    def embed(self, pairs: Sequence[PairT], *, on_progress: Progress | None = None) -> FloatArray:
        """Embeddings of the differences, shape (n, d)."""
        ...

    def propose(self, pairs: Sequence[PairT], *, limit: int = 24) -> list[Proposal]:
        """Candidate adjectives for what sets the seconds of the pairs apart."""
        ...

    def word_vectors(self, words: Sequence[str]) -> FloatArray:
        """The fast path: one direction a word, shape (k, d)."""
        ...
