"""A summarizer made of any instruct causal LM: one forward pass a pair, no token generated.

The embedding of a pair is the hidden state that feeds the output layer at the next-token position, where
the model is about to name the adjective (paper, section 4.1). Knows the wording and the model; never sees
a space.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xpert.errors import ModelError
from xpert.models.chats import render_chat
from xpert.models.generation import continued, special_tokens
from xpert.models.loading import LoadedModel
from xpert.models.ways import pad_left
from xpert.records import OutputPair
from xpert.space.words import merge_candidates, normalise
from xpert.summarizing import instruction
from xpert.summarizing.padding import grouped
from xpert.summarizing.summarizer import FloatArray, Progress, Proposal

_WORD_TOKENS = 4
_TOKENS_PER_BATCH = {"cpu": 1024}
_TOKENS_PER_BATCH_ELSEWHERE = 8192
"""Larger batches fall out of a CPU's caches: `benchmarks/embedding_batches.py`; other devices were not measured."""


@dataclass
class LanguageSummarizer:
    """Any instruct causal LM as a summarizer; see `Summarizer` for the law.

    Args:
        loaded: the model.
        soft: tuned part of the fast path: embeddings (s, width of the input embeddings) put before the
            instruction; None: the plain instruction.
        tokens_per_batch: padded tokens in one forward pass; None: what was measured to be fast on the device.
    """

    loaded: LoadedModel
    soft: FloatArray | None = None
    tokens_per_batch: int | None = None

    @property
    def identity(self) -> str:
        """SHA-256 of model, tokenizer and wording. The soft prompt shapes no pair's embedding and stays out."""
        model = (self.loaded.digest, self.loaded.tokenizer_digest, str(self.loaded.tokenizer.chat_template))
        return hashlib.sha256("\0".join((*model, instruction.digest())).encode()).hexdigest()

    @property
    def width(self) -> int:
        """d: width of the last hidden state."""
        return int(self.loaded.model.get_output_embeddings().weight.shape[1])

    def embed(self, pairs: Sequence[OutputPair], *, on_progress: Progress | None = None) -> FloatArray:
        """Hidden states of the pairs, shape (n, d)."""
        return self._states([instruction.ask_pair(pair) for pair in pairs], on_progress)

    def propose(self, pairs: Sequence[OutputPair], *, limit: int = 24) -> list[Proposal]:
        """Words from the next-token distribution, averaged over the pairs, each completed to a whole word."""
        questions = [instruction.ask_pair(pair) for pair in pairs]
        states = torch.from_numpy(self._states(questions, None)).to(torch.float32)
        head = self.loaded.model.get_output_embeddings()
        with torch.inference_mode():
            logits = head(states.to(self.loaded.device, head.weight.dtype)).float()
            mean = torch.softmax(logits, -1).mean(0).cpu()
        likely = sorted(range(len(mean)), key=lambda i: (-float(mean[i]), i))[:limit]
        words = self._complete(questions[0], likely)
        found = merge_candidates((word, float(mean[token])) for token, word in zip(likely, words, strict=True))
        return [Proposal(word, probability) for word, probability in found]

    def word_vectors(self, words: Sequence[str]) -> FloatArray:
        """Half of h(second text is more {word}) - h(first text is more {word}), shape (k, d).

        Swapping the sides and taking half the difference removes what is common to every question.
        """
        more = [instruction.ask_word(word) for word in words]
        less = [instruction.ask_word(word, swapped=True) for word in words]
        if not words:
            return np.zeros((0, self.width))
        if self.soft is None:
            return (self._states(more, None) - self._states(less, None)) / 2
        soft = torch.from_numpy(self.soft).to(self.loaded.device, torch.float32)
        with torch.inference_mode():
            rows = [(self.soft_state(a, soft) - self.soft_state(b, soft)) / 2 for a, b in zip(more, less, strict=True)]
        return np.stack([row.cpu().numpy().astype(np.float64) for row in rows])

    def tokens(self, question: str) -> list[int]:
        """The question as the model reads it, up to where its answer starts."""
        text = render_chat(self.loaded.tokenizer, question)
        ids: list[int] = self.loaded.tokenizer(text, add_special_tokens=special_tokens(self.loaded.tokenizer))[
            "input_ids"
        ]
        return ids

    def _states(self, questions: Sequence[str], on_progress: Progress | None) -> FloatArray:
        encoded = [self.tokens(question) for question in questions]
        order = sorted(range(len(encoded)), key=lambda i: (len(encoded[i]), i))
        states = np.zeros((len(encoded), self.width))
        done = 0
        with torch.inference_mode():
            batches = _batches(order, encoded, self.batch_tokens)
            for rows in grouped(self.loaded, self._together, batches, encoded):
                states[rows] = self._together([encoded[i] for i in rows])
                done += len(rows)
                if on_progress is not None:
                    on_progress("embedding", done, len(order))
        if not np.isfinite(states).all():
            raise ModelError(
                "the summarizer's hidden state is not finite: it is damaged, or its numbers overflow on this device: "
                "use another device, such as cpu, or another summarizer"
            )
        return states

    def soft_state(self, question: str, soft: torch.Tensor) -> torch.Tensor:
        """Hidden state (d,) of one question behind soft embeddings (s, width); differentiable in `soft`."""
        model = self.loaded.model
        ids = torch.tensor([self.tokens(question)], device=self.loaded.device)
        embeddings = model.get_input_embeddings()(ids)
        inputs = torch.cat([soft.to(embeddings.dtype)[None], embeddings], dim=1)
        state: torch.Tensor = _body(model)(inputs_embeds=inputs).last_hidden_state[0, -1].float()
        return state

    @property
    def batch_tokens(self) -> int:
        """Padded tokens in one forward pass on this device."""
        if self.tokens_per_batch is not None:
            return self.tokens_per_batch
        return _TOKENS_PER_BATCH.get(self.loaded.device.type, _TOKENS_PER_BATCH_ELSEWHERE)

    def _together(self, rows: Sequence[Sequence[int]]) -> FloatArray:
        """Hidden states (n, d) of token rows, padded on the left."""
        ids, mask = pad_left(rows, self.loaded)
        return self._last(input_ids=ids, attention_mask=mask)

    def _last(self, **inputs: Any) -> FloatArray:
        hidden = _body(self.loaded.model)(**inputs, use_cache=False).last_hidden_state[:, -1]
        return np.asarray(hidden.float().cpu().numpy(), dtype=np.float64)

    def _complete(self, question: str, first: Sequence[int]) -> list[str]:
        """Each first token, continued greedily until its word is whole."""
        start = self.tokens(question)
        made = continued(self.loaded, [[*start, token] for token in first], _WORD_TOKENS)
        texts = [
            str(self.loaded.tokenizer.decode([token, *ids], skip_special_tokens=False))
            for token, ids in zip(first, made, strict=True)
        ]
        # A token that does not open a word ("</s>", digits, punctuation) proposes nothing.
        return [text if normalise(text.lstrip()[:24]) and text.lstrip()[:1].isalpha() else "" for text in texts]


def _body(model: Any) -> Any:
    """The model without its output layer; some families name it otherwise than transformers looks for it."""
    for found in (model.base_model, model.get_decoder(), getattr(model, "model", None)):
        if found is not None and found is not model:
            return found
    raise ModelError(
        f"{type(model).__name__} has no part that gives hidden states, so it cannot be a summarizer: give another one"
    )


def _batches(order: Sequence[int], encoded: Sequence[list[int]], tokens: int) -> list[list[int]]:
    """Rows of like length, at most `tokens` padded tokens together."""
    groups: list[list[int]] = []
    for row in order:
        if groups and len(encoded[row]) * (len(groups[-1]) + 1) <= tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
