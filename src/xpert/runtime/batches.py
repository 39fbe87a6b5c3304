"""Encoded samples to batches, in an order that is a pure function of samples, seed and step.

The order is that of `xpert.tuning.batches.BatchPlan`, number for number, so that a run on a device learns from the same
samples in the same steps as `xpert tune`; a test holds the two together. Knows numpy only.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence

import numpy as np

from xpert.runtime.interface import Batch
from xpert.runtime.tokens import Encoded
from xpert.tuning.order import epoch_groups


def collate(samples: Sequence[Encoded], pad: int) -> Batch:
    """One batch, padded on the right to the longest of the samples."""
    width = max(len(sample.tokens) for sample in samples)
    ids = np.full((len(samples), width), pad, np.int64)
    rows, targets = list[int](), list[int]()
    for number, sample in enumerate(samples):
        ids[number, : len(sample.tokens)] = sample.tokens
        rows += range(number * width + sample.start - 1, number * width + len(sample.tokens) - 1)
        targets += sample.tokens[sample.start :]
    return Batch(ids, np.array(rows, np.int64), np.array(targets, np.int64))


def evaluation_batches(samples: Sequence[Encoded], batch_size: int, pad: int) -> list[Batch]:
    """All samples once, shortest first, so that little is padded."""
    order = sorted(samples, key=lambda sample: len(sample.tokens))
    return [collate(order[i : i + batch_size], pad) for i in range(0, len(order), batch_size)]


class Plan:
    """Which samples each step learns from: every sample once an epoch, of like lengths together, in a drawn order.

    Args:
        samples: at least one.
        batch_size: samples of a batch at most.
        accumulation_steps: batches of a step at most.
        seed: of the shuffles.
        pad: token that fills up.
    """

    def __init__(
        self, samples: Sequence[Encoded], *, batch_size: int, accumulation_steps: int, seed: int, pad: int
    ) -> None:
        self._samples, self._batch_size, self._seed, self._pad = samples, batch_size, seed, pad
        self.steps_per_epoch = -(-len(samples) // (batch_size * accumulation_steps))
        self._epoch = (0, self._shuffled(0))
        self._seen = list(itertools.accumulate((len(group) for group in self._epoch[1]), initial=0))

    def _shuffled(self, epoch: int) -> list[list[int]]:
        lengths = [len(sample.tokens) for sample in self._samples]
        return epoch_groups(lengths, self.steps_per_epoch, f"{self._seed}/{epoch}")

    def step(self, step: int) -> list[Batch]:
        """The batches of step `step`, counted from 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._shuffled(epoch))
        chosen = [self._samples[index] for index in self._epoch[1][place]]
        size = self._batch_size
        return [collate(chosen[i : i + size], self._pad) for i in range(0, len(chosen), size)]

    def samples_seen(self, steps: int) -> int:
        """How many different samples the first `steps` steps learn from."""
        return self._seen[min(steps, self.steps_per_epoch)]


def data_digest(*parts: Sequence[Encoded]) -> str:
    """SHA-256 over encoded samples, in order."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(json.dumps([[sample.start, *sample.tokens] for sample in part]).encode() + b"\n")
    return whole.hexdigest()
