"""Texts to tokens and back, by the tokenizer and the prompt template of an export, without transformers.

Gives the very tokens that `xpert.tuning.batches.encode` gives with the base itself; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from xpert.errors import DamagedModelError, DataError
from xpert.models.thoughts import answer_text
from xpert.records import Sample
from xpert.runtime.manifest import TOKENIZER, Prompt


@dataclass(frozen=True, slots=True)
class Encoded:
    """Tokens of one sample; those from `start` on are learned (start >= 1)."""

    tokens: tuple[int, ...]
    start: int


class Tokens:
    """The tokenizer of an exported folder.

    Args:
        folder: what `xpert export` wrote.
        prompt: its prompt template.

    Raises:
        DamagedModelError: the tokenizer cannot be read.
    """

    def __init__(self, folder: Path, prompt: Prompt) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # this library raises plain Exception
            raise DamagedModelError(
                f"{folder / TOKENIZER} cannot be read ({error}): export or download the folder again"
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = frozenset(token for token, facts in added.items() if facts.special)
        self._prompt = prompt

    def rendered(self, prompt: str) -> str:
        """The text up to where the answer starts."""
        of = self._prompt
        if not prompt:
            return of.empty
        return of.prefix + (prompt.strip() if of.strip else prompt) + of.suffix

    def ask(self, prompt: str) -> list[int]:
        """Tokens of a prompt, up to where the answer starts."""
        return self._ids(self.rendered(prompt), self._prompt.add_special_tokens)

    def encode(self, samples: Sequence[Sample], max_length_tokens: int) -> list[Encoded]:
        """Tokens of each sample: prompt, response, end of text; only the response and the end are learned.

        A sample that is too long loses the start of its prompt, but not below half of `max_length_tokens`; then the
        end of its response. Samples with nothing to learn are left out.
        """
        of = self._prompt
        end = [] if of.end is None else [of.end]
        first = [] if of.first is None else [of.first]
        encoded = [
            _fit(
                self.ask(sample.prompt or "") or first,
                self._ids(sample.response, False) + end,
                max_length_tokens,
                of.begin,
            )
            for sample in samples
        ]
        return [sample for sample in encoded if len(sample.tokens) > sample.start]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer, without special tokens and without what the model thought before it."""
        return answer_text(
            tokens,
            self._special,
            lambda token: str(self._tokenizer.id_to_token(token)),
            lambda some: str(self._tokenizer.decode(list(some), skip_special_tokens=True)),
        )

    def _ids(self, text: str, special: bool) -> list[int]:
        try:
            return list(self._tokenizer.encode(text, add_special_tokens=special).ids)
        except TypeError as error:  # text that is no UTF-8 comes from a command line as halves of characters
            raise DataError(
                "the text holds half a character (a lone surrogate): give whole characters, as UTF-8"
            ) from error


def _fit(prompt: list[int], response: list[int], limit: int, begin: int | None) -> Encoded:
    if len(prompt) + len(response) > limit:
        keep = min(len(prompt), max(limit // 2, limit - len(response)))
        if keep < len(prompt):
            head = prompt[:1] if prompt[0] == begin else []
            prompt = head + prompt[len(prompt) - keep + len(head) :]
        response = response[: limit - keep]
    return Encoded((*prompt, *response), max(1, len(prompt)))
