"""The law of `Summarizer` as a suite: subclass, give `summarizer`, run under pytest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpert.records import OutputPair
from xpert.space.words import normalise
from xpert.summarizing.summarizer import Summarizer

PAIRS = (
    OutputPair("How do magnets work?", "Magnets pull iron.", "Ferromagnetic domains align under an applied field."),
    OutputPair("What is rain?", "Rain is water that falls.", "Ha! Rain is the sky forgetting to close its tap!"),
    OutputPair("Name a fruit.", "An apple.", "An apple. " * 80),
    OutputPair("What is bread?", "", "Flour, water, salt and patience."),
)


class SummarizerContract:
    """Tests that every summarizer must pass; `pairs` are four that differ, of texts unless a subclass has others."""

    pairs: Sequence[Any] = PAIRS

    def summarizer(self) -> Summarizer[Any]:
        """The one under test."""
        raise NotImplementedError

    def test_embeds_every_pair_in_its_row(self) -> None:
        s = self.summarizer()
        together = s.embed(self.pairs)
        assert together.shape == (len(self.pairs), s.width)
        assert together.dtype == np.float64
        assert np.isfinite(together).all()
        for row, pair in zip(together, self.pairs, strict=True):
            np.testing.assert_allclose(s.embed([pair])[0], row, rtol=1e-3, atol=1e-4 * np.abs(together).max())
        assert np.linalg.norm(together[0] - together[1]) > 1e-3 * np.linalg.norm(together[0])

    def test_gives_the_same_bytes_twice(self) -> None:
        s = self.summarizer()
        assert s.embed(self.pairs).tobytes() == s.embed(self.pairs).tobytes()
        assert s.identity == self.summarizer().identity
        assert len(s.identity) == 64

    def test_proposes_distinct_normalised_words_in_order(self) -> None:
        proposals = self.summarizer().propose(self.pairs, limit=64)
        words = [p.word for p in proposals]
        assert 0 < len(words) == len(set(words))
        assert [normalise(word) for word in words] == words
        assert [p.probability for p in proposals] == sorted((p.probability for p in proposals), reverse=True)
        assert 0 < sum(p.probability for p in proposals) <= 1 + 1e-6

    def test_word_vectors_stand_each_alone(self) -> None:
        s = self.summarizer()
        rows = s.word_vectors(["formal", "humorous", "concise"])
        assert rows.shape == (3, s.width)
        np.testing.assert_allclose(s.word_vectors(["humorous"])[0], rows[1], rtol=1e-3, atol=1e-4 * np.abs(rows).max())
        assert s.word_vectors([]).shape == (0, s.width)

    def test_reports_progress_to_the_end(self) -> None:
        seen: list[tuple[str, int, int]] = []
        self.summarizer().embed(self.pairs, on_progress=lambda stage, done, total: seen.append((stage, done, total)))
        assert seen[-1] == ("embedding", len(self.pairs), len(self.pairs))
