"""Words as the space keeps them: normalised, whole, and fit to name a style. Knows spelling only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_SHAPE = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_NOT_STYLES = frozenset(
    "a an and answer are as both but either for from has have her his how i in is it its language less more most "
    "my neither no none not of on one or other personalized reply same similar sorry style styles text than that "
    "the their these they this to unstylized very was we were what which with you your".split()
)


def normalise(word: str) -> str | None:
    """Lower-case word without punctuation, or None where it cannot name a style.

    NFKC, then the first run of letters (inner hyphens allowed), 3 to 24 characters, not a function word.
    """
    found = _SHAPE.search(unicodedata.normalize("NFKC", word).casefold())
    if found is None or not 3 <= len(found[0]) <= 24 or found[0] in _NOT_STYLES:
        return None
    return found[0]


def merge_candidates(candidates: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """Normalise, drop what is no style word, add up what became equal; most probable first, ties by alphabet."""
    total: dict[str, float] = {}
    for raw, probability in candidates:
        word = normalise(raw)
        if word is not None:
            total[word] = total.get(word, 0.0) + probability
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))
