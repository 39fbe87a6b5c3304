"""A few steps whose losses are known: the first thing that a runtime must show, before it touches anyone's data.

Knows the interface of runtimes and one JSON file. Batches, settings and expected numbers lie in the file, written by
the reference when the folder was exported.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from xpert.errors import DamagedModelError, ModelError
from xpert.runtime.interface import Answering, Batch, Runtime, StepSettings
from xpert.runtime.manifest import GOLDEN

_TOLERANCE = 1e-4
_ROWS, _LENGTH, _ANSWER = 2, 24, 6
_RATES = (3e-3, 2e-3, 1e-3)


class GoldenBatch(BaseModel):
    """A batch as JSON: `input_ids` (b, s), `rows` (m,), `targets` (m,)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    input_ids: list[list[int]]
    rows: list[int]
    targets: list[int]

    def batch(self) -> Batch:
        """The same as arrays."""
        return Batch(*(np.array(part, np.int64) for part in (self.input_ids, self.rows, self.targets)))


class GoldenStep(BaseModel):
    """One step: its micro-batches, its settings, and the loss that it must show."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    batches: list[GoldenBatch]
    learning_rate: float
    weight_decay: float
    max_gradient_norm: float
    loss: float


class Golden(BaseModel):
    """The whole of golden.json.

    Attributes:
        steps: to be taken one after the other, from the folder's own adapter and moments of zero.
        evaluation: batches that are evaluated after them.
        evaluation_loss: what that must give, in nats a token.
        tolerance: how far a loss l may be off, times max(1, |l|).
        prompt: tokens that are continued after that.
        answer: the most probable tokens that the reference continued with. They tell of errors in the cache; where two
            tokens are almost equally probable, another runtime may rightly choose the other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: list[GoldenStep]
    evaluation: list[GoldenBatch]
    evaluation_loss: float
    tolerance: float
    prompt: list[int]
    answer: list[int]


def golden_batches(vocabulary: int, length_tokens: int) -> list[GoldenBatch]:
    """Two batches of unlike rows, the same for every vocabulary of that size and every length that is not shorter."""
    found, length = [], min(_LENGTH, length_tokens)
    for number in range(2):
        ids = [
            [(7919 * (row + 3 * number + 1) + 104729 * place * (place + row)) % vocabulary for place in range(length)]
            for row in range(_ROWS)
        ]
        rows = [row * length + place for row in range(_ROWS) for place in range(5 + 4 * row, length - 1 - row)]
        targets = [ids[place // length][place % length + 1] for place in rows]
        found.append(GoldenBatch(input_ids=ids, rows=rows, targets=targets))
    return found


def make_golden(reference: Runtime) -> Golden:
    """Take the steps with the reference, and note what it shows; its state is as before then."""
    one, two = golden_batches(reference.manifest.sizes.vocabulary, reference.manifest.length_tokens)
    before, steps = reference.state(), []
    for rate, batches in zip(_RATES, ([one], [one, two], [two]), strict=True):
        settings = StepSettings(rate, weight_decay=0.01, max_gradient_norm=1.0)
        loss = reference.step([batch.batch() for batch in batches], settings).loss
        steps.append(
            GoldenStep(
                batches=batches,
                learning_rate=rate,
                weight_decay=settings.weight_decay,
                max_gradient_norm=settings.max_gradient_norm,
                loss=loss,
            )
        )
    prompt = one.input_ids[0][: len(one.input_ids[0]) // 2]
    golden = Golden(
        steps=steps,
        evaluation=[one, two],
        evaluation_loss=reference.evaluate([one.batch(), two.batch()]),
        tolerance=_TOLERANCE,
        prompt=prompt,
        answer=reference.generate(prompt, Answering(max_new_tokens=_ANSWER)),
    )
    reference.restore(before)
    return golden


def read_golden(folder: Path) -> Golden:
    """The golden steps of an exported folder.

    Raises:
        DamagedModelError: they cannot be read.
    """
    try:
        raw: Any = json.loads((folder / GOLDEN).read_text("utf-8"))
        return Golden.model_validate(raw)
    except (OSError, ValueError, ValidationError) as error:
        raise DamagedModelError(
            f"{folder / GOLDEN} cannot be read ({str(error).splitlines()[0]}): export the folder again"
        ) from error


def check_golden(runtime: Runtime, golden: Golden, name: str, *, recompute: bool = False) -> float:
    """Take the golden steps; the largest difference from the reference, where it is within the tolerance.

    The runtime's state is as before then.

    Args:
        runtime: with the folder's own adapter in it.
        golden: of the folder.
        name: of runtime and version, for the error.
        recompute: take them as `StepSettings.recompute` says.

    Raises:
        ModelError: a loss differs by more; the text names the step.
    """
    before, found = runtime.state(), list[tuple[str, float, float]]()
    for number, step in enumerate(golden.steps, 1):
        settings = StepSettings(step.learning_rate, step.weight_decay, step.max_gradient_norm, recompute)
        loss = runtime.step([batch.batch() for batch in step.batches], settings).loss
        found.append((f"training step {number}", loss, step.loss))
    loss = runtime.evaluate([batch.batch() for batch in golden.evaluation])
    found.append(("evaluation", loss, golden.evaluation_loss))
    runtime.restore(before)
    return _worst(found, golden.tolerance, name)


def _worst(found: Sequence[tuple[str, float, float]], tolerance: float, name: str) -> float:
    for what, loss, wanted in found:
        if not abs(loss - wanted) <= tolerance * max(1.0, abs(wanted)):
            raise ModelError(
                f"{name} computes another loss than the reference on the golden batch: {what} gave {loss:.6f}, "
                f"{wanted:.6f} is right: use another version of the runtime, or export again"
            )
    return max(abs(loss - wanted) for _, loss, wanted in found)
