"""Unstylized answers in a given style: the slow, exact path to a word's sub-vector starts here.

`rewrite` of the law: n texts for n prompts and references, in order; nothing given is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from xpert.models.generation import generate
from xpert.models.loading import LoadedModel
from xpert.probing.text import ProbeSettings, answer

STYLE_TURN = "Write in this style: {}."


class Rewriter(Protocol):
    """Restyles texts."""

    def rewrite(self, prompts: Sequence[str], references: Sequence[str], word: str) -> list[str]:
        """The reference answers to the prompts, in the style of `word`; n texts."""
        ...


@dataclass
class InstructRewriter:
    """An instruct model rewrites the texts, as in the paper; use the summarizer's own model."""

    loaded: LoadedModel
    max_new_tokens: int = 256

    def rewrite(self, prompts: Sequence[str], references: Sequence[str], word: str) -> list[str]:
        """Ask for each text in the style; greedy, so that it is reproducible."""
        asked = [
            f"Rewrite the following text in a {word} style. Keep what it says; reply with the new text only.\n\n{text}"
            for text in references
        ]
        return generate(self.loaded, asked, max_new_tokens=self.max_new_tokens, temperature=0.0)


@dataclass
class StyledAnswers:
    """The base answers the same prompts again under a system turn that names the style.

    For bases that follow such a turn and summarizers too small to rewrite: the embedded models.
    """

    base: LoadedModel
    settings: ProbeSettings

    def rewrite(self, prompts: Sequence[str], references: Sequence[str], word: str) -> list[str]:
        """Answer again in the style; the references are not read."""
        return answer(self.base, prompts, self.settings, system=STYLE_TURN.format(word))
