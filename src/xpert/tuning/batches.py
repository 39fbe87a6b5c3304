"""Samples to token batches, in an order that is a pure function of samples, seed and step.

Knows tokens and lengths; never sees a model. Prompts are rendered and tokenized exactly as generation
does, so what is learned is what will be asked: a sample without prompt follows the chat template with an
empty user turn, or the first special token alone where the tokenizer has no template.

Legend: b samples of a batch, t tokens of the longest of them, m response tokens of the batch.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from xpert.models.chats import render_chats
from xpert.models.generation import special_tokens
from xpert.records import Sample
from xpert.tuning.order import epoch_groups


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """Tokens of one sample; those from `start` on are learned (start >= 1)."""

    tokens: tuple[int, ...]
    start: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids padded on the right, and where the response is.

    Attributes:
        input_ids: (b, t).
        attention_mask: (b, t); 0 on padding.
        rows: (m,) places in the flattened (b * t) whose next token is learned.
        targets: (m,) those next tokens.
        span: first place of `rows` within a sample, and one after the last.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    rows: torch.Tensor
    targets: torch.Tensor
    span: tuple[int, int]

    @property
    def labels(self) -> torch.Tensor:
        """(b, t), -100 wherever nothing is learned: what transformers calls labels."""
        labels = torch.full_like(self.input_ids, -100)
        labels.view(-1)[self.rows + 1] = self.targets
        return labels

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device, without waiting for the copy."""
        if device.type == "cpu":
            return self
        moved = []
        for tensor in (self.input_ids, self.attention_mask, self.rows, self.targets):
            pinned = tensor.pin_memory() if device.type == "cuda" else tensor
            moved.append(pinned.to(device, non_blocking=True))
        return Batch(moved[0], moved[1], moved[2], moved[3], self.span)


def encode(
    tokenizer: PreTrainedTokenizerBase, samples: Sequence[Sample], max_length_tokens: int
) -> list[EncodedSample]:
    """Tokens of each sample: prompt, response, end of text; only the response and the end are learned.

    A sample that is too long loses the start of its prompt, but not below half of `max_length_tokens`; then
    the end of its response, and with it the end of text. A first special token stays. Samples with nothing
    to learn are left out.
    """
    if not samples:
        return []
    special = special_tokens(tokenizer)
    chats = render_chats(tokenizer, [sample.prompt or "" for sample in samples])
    prompts = tokenizer(chats, add_special_tokens=special)["input_ids"]
    responses = tokenizer([sample.response for sample in samples], add_special_tokens=False)["input_ids"]
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    first = next(([i] for i in (tokenizer.bos_token_id, tokenizer.eos_token_id) if i is not None), [])
    encoded = [
        _fit(prompt or first, response + end, max_length_tokens, tokenizer.bos_token_id)
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    return [sample for sample in encoded if len(sample.tokens) > sample.start]


def _fit(prompt: list[int], response: list[int], limit: int, bos: int | None) -> EncodedSample:
    if len(prompt) + len(response) > limit:
        keep = min(len(prompt), max(limit // 2, limit - len(response)))
        if keep < len(prompt):
            head = prompt[:1] if prompt[0] == bos else []
            prompt = head + prompt[len(prompt) - keep + len(head) :]
        response = response[: limit - keep]
    return EncodedSample((*prompt, *response), max(1, len(prompt)))


def collate(samples: Sequence[EncodedSample], pad_id: int) -> Batch:
    """One batch, padded on the right to the longest of the samples."""
    width = max(len(sample.tokens) for sample in samples)
    ids = [[*sample.tokens, *[pad_id] * (width - len(sample.tokens))] for sample in samples]
    mask = [[1] * len(sample.tokens) + [0] * (width - len(sample.tokens)) for sample in samples]
    rows = [
        number * width + place
        for number, sample in enumerate(samples)
        for place in range(sample.start - 1, len(sample.tokens) - 1)
    ]
    targets = [token for sample in samples for token in sample.tokens[sample.start :]]
    span = (min(sample.start for sample in samples) - 1, width - 1)
    return Batch(torch.tensor(ids), torch.tensor(mask), torch.tensor(rows), torch.tensor(targets), span)


def evaluation_batches(samples: Sequence[EncodedSample], batch_size: int, pad_id: int) -> list[Batch]:
    """All samples once, shortest first, so that little is padded."""
    order = sorted(samples, key=lambda sample: len(sample.tokens))
    return [collate(order[i : i + batch_size], pad_id) for i in range(0, len(order), batch_size)]


class BatchPlan:
    """Which samples each step learns from.

    Every epoch is a fresh shuffle of all samples. Within windows of a few steps the samples are sorted by
    length and cut into steps, whose order is shuffled again: little padding, no order of lengths, and every
    sample once an epoch. The steps of an epoch differ by one sample at most, so no sample weighs more for
    standing in a small remainder.

    Args:
        samples: encoded samples, n of them, at least one.
        batch_size: samples of a batch at most.
        accumulation_steps: batches of a step at most.
        seed: of the shuffles.
        pad_id: token that fills up.
    """

    def __init__(
        self,
        samples: Sequence[EncodedSample],
        *,
        batch_size: int,
        accumulation_steps: int,
        seed: int,
        pad_id: int,
    ) -> None:
        self._samples = samples
        self._batch_size = batch_size
        self._seed = seed
        self._pad_id = pad_id
        self.steps_per_epoch = -(-len(samples) // (batch_size * accumulation_steps))
        self._epoch = (0, self._shuffled(0))
        self._seen = list(itertools.accumulate((len(group) for group in self._epoch[1]), initial=0))

    def _shuffled(self, epoch: int) -> list[list[int]]:
        lengths = [len(sample.tokens) for sample in self._samples]
        return epoch_groups(lengths, self.steps_per_epoch, f"{self._seed}/{epoch}")

    def indices(self, step: int) -> list[int]:
        """Samples of step `step`, counted from 0, by their place in `samples`; shortest first."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._shuffled(epoch))
        return self._epoch[1][place]

    def step(self, step: int) -> list[Batch]:
        """The batches of step `step`, counted from 0; at most `accumulation_steps`."""
        chosen = [self._samples[index] for index in self.indices(step)]
        size = self._batch_size
        return [collate(chosen[i : i + size], self._pad_id) for i in range(0, len(chosen), size)]

    def samples_seen(self, steps: int) -> int:
        """How many different samples the first `steps` steps learn from."""
        return self._seen[min(steps, self.steps_per_epoch)]


def data_digest(*parts: Sequence[EncodedSample] | str) -> str:
    """SHA-256 over encoded samples and further digests, in order."""
    whole = hashlib.sha256()
    for part in parts:
        plain = part if isinstance(part, str) else [[sample.start, *sample.tokens] for sample in part]
        whole.update(json.dumps(plain).encode() + b"\n")
    return whole.hexdigest()
