"""Pairs of a text and its restyled twin: the slow, exact path to a word's sub-vector starts here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from xpert.models.generation import generate
from xpert.models.loading import LoadedModel
from xpert.probing.text import ProbeSettings, answer, pair_up
from xpert.records import OutputPair

STYLE_TURN = "Write in this style: {}."


class Rewriter(Protocol):
    """Restyles texts.

    The law: `restyle` MUST give at least one pair a prompt, in the order of the prompts, in which the second
    text has more of the word than the first and is otherwise as like it as can be; the same call gives
    the same pairs.
    """

    def restyle(self, prompts: Sequence[str], references: Sequence[str], word: str) -> list[OutputPair]:
        """Pairs (less of the word, more of the word), from prompts and the base model's answers to them."""
        ...


@dataclass
class InstructRewriter:
    """An instruct model rewrites the base's answers, as in the paper; use the summarizer's own model."""

    loaded: LoadedModel
    max_new_tokens: int = 256

    def restyle(self, prompts: Sequence[str], references: Sequence[str], word: str) -> list[OutputPair]:
        """Ask for each text in the style; greedy, so that it is reproducible."""
        asked = [
            f"Rewrite the following text in a {word} style. Keep what it says; reply with the new text only.\n\n{text}"
            for text in references
        ]
        rewritten = generate(self.loaded, asked, max_new_tokens=self.max_new_tokens, temperature=0.0)
        return pair_up(prompts, references, rewritten)


@dataclass
class StyleTurns:
    """The base answers the prompts under system turns that name styles.

    For bases that follow such a turn and summarizers too small to rewrite: the embedded models.

    Attributes:
        base: answers.
        settings: how.
        contrasts: word -> pairs of styles that differ in that word only, such as
            ("expert, concise", "elementary, concise"); a word without contrasts is asked for alone,
            beside the plain answer.
    """

    base: LoadedModel
    settings: ProbeSettings
    contrasts: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)

    def restyle(self, prompts: Sequence[str], references: Sequence[str], word: str) -> list[OutputPair]:
        """Answers under both styles of every contrast, or plain and restyled ones."""
        pairs: list[OutputPair] = []
        for without, with_word in self.contrasts.get(word, ()):
            pairs += pair_up(prompts, self._under(prompts, without), self._under(prompts, with_word))
        return pairs or pair_up(prompts, references, self._under(prompts, word))

    def _under(self, prompts: Sequence[str], style: str) -> list[str]:
        return answer(self.base, prompts, self.settings, system=STYLE_TURN.format(style))
