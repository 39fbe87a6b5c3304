"""What a language-model summarizer is asked: two texts in, one adjective out (paper, section 4.1).

Knows wording only; never sees a model. The wording is part of every embedding, so its digest stands
in the summarizer's identity: another wording is another space.
"""

from __future__ import annotations

import hashlib

from xpert.records import OutputPair

HEAD_WORDS = 44
TAIL_WORDS = 16
_CHARACTERS_PER_WORD = 12
_MARKS = (5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 120, 150, 200, 300, 400, 600, 800, 1200, 1600)

QUESTION = (
    "Which language style is more characteristic of <personalized> than of <unstylized>? Reply with one adjective."
)
_PAIR = (
    "<unstylized> about {reference_count} words: {reference} </unstylized>\n"
    "<personalized> about {response_count} words: {response} </personalized>\n" + QUESTION
)
_WORD = "<personalized> is more {word} than <unstylized>.\n" + QUESTION
_SWAPPED_WORD = "<unstylized> is more {word} than <personalized>.\n" + QUESTION


def _count(words: int) -> int:
    return min(_MARKS, key=lambda mark: abs(mark - words))


def view(text: str, *, head: int = HEAD_WORDS, tail: int = TAIL_WORDS) -> str:
    """The start and the end of a text on one line: how it ends tells much about its length.

    Texts of up to `head + tail` words come whole. Scripts without spaces are bounded by characters.
    """
    words = text.split()
    if len(words) > head + tail:
        words = [*words[:head], "[...]", *words[-tail:]]
    line = " ".join(words)
    limit = (head + tail + 1) * _CHARACTERS_PER_WORD
    return line if len(line) <= limit else f"{line[: limit * 3 // 4]} [...] {line[-limit // 4 :]}"


def ask_pair(pair: OutputPair, *, head: int = HEAD_WORDS, tail: int = TAIL_WORDS) -> str:
    """The question about one pair: T(reference, response)."""
    return _PAIR.format(
        reference_count=_count(len(pair.reference.split())),
        reference=view(pair.reference, head=head, tail=tail),
        response_count=_count(len(pair.response.split())),
        response=view(pair.response, head=head, tail=tail),
    )


def ask_word(word: str, *, swapped: bool = False) -> str:
    """The fast path to a word's sub-vector: the same question with its answer given away.

    With `swapped`, the first text has more of the word, so the answer is its contrary.
    """
    return (_SWAPPED_WORD if swapped else _WORD).format(word=word)


def digest() -> str:
    """SHA-256 of everything in this file that shapes an embedding."""
    parts = (_PAIR, _WORD, _SWAPPED_WORD, str((HEAD_WORDS, TAIL_WORDS, _CHARACTERS_PER_WORD, _MARKS)))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
