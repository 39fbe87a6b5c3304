"""What a runtime must do, whatever computes underneath.

Knows numpy arrays and the manifest; nothing of texts, files of checkpoints or settings.

Legend: b sequences of a batch, s tokens of the longest, m labelled tokens, P numbers of the adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from xpert.runtime.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids padded on the right, and what is learned of them.

    Attributes:
        input_ids: (b, s), int64.
        rows: (m,), int64; places in the flattened (b s) whose next token is learned.
        targets: (m,), int64; those next tokens.
    """

    input_ids: np.ndarray
    rows: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True, slots=True)
class TrainingState:
    """Everything that a step changes: steps taken, adapter and both moments of AdamW, (P,) float32 each."""

    step: int
    adapter: np.ndarray
    first_moment: np.ndarray
    second_moment: np.ndarray


@dataclass(frozen=True, slots=True)
class StepSettings:
    """What may differ from step to step: numbers of AdamW, and how the gradient is computed.

    Attributes:
        learning_rate: of AdamW.
        weight_decay: of AdamW, times the learning rate.
        max_gradient_norm: the gradient is shortened to this length.
        recompute: compute activations again for the gradient: the same numbers, less memory, more time. The reference
            does without.
    """

    learning_rate: float
    weight_decay: float = 0.0
    max_gradient_norm: float = 1.0
    recompute: bool = False


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step saw: mean loss of its labelled tokens in nats, and the gradient's length before clipping."""

    loss: float
    gradient_norm: float


@dataclass(frozen=True, slots=True)
class Answering:
    """How an answer is made; temperature 0 takes the most probable token."""

    max_new_tokens: int = 192
    temperature: float = 0.0
    top_p: float = 0.95
    seed: int = 0
    stops: frozenset[int] = field(default_factory=frozenset)


class Runtime(Protocol):
    """Trains, evaluates and generates with one exported folder.

    The law, which `xpert.testing.runtimes` holds every runtime to:

    - After opening, the state is the folder's own adapter, moments of zero and step 0.
    - `step` MUST take one step of AdamW on the gradient of the mean negative log likelihood over all labelled tokens of
      all given batches, clipped by length, as `xpert.export.objective` states it, and MUST count it.
    - `step` MUST leave the state untouched where loss or gradient are not finite, and raise ModelError.
    - `state` MUST return arrays that later steps do not change; `restore` MUST copy what it is given. A state restored
      in another process continues with the same losses.
    - `evaluate` MUST be the mean over all labelled tokens of all batches, and `generate` MUST be a function of the
      adapter, the tokens and the settings only. Neither changes the state.
    - The same calls on the same machine give the same numbers.
    """

    @property
    def manifest(self) -> Manifest:
        """Of the folder that was opened."""
        ...

    def state(self) -> TrainingState:
        """A copy of everything that training changed."""
        ...

    def restore(self, state: TrainingState) -> None:
        """Go on from a state; MismatchError where its arrays have other sizes than the adapter."""
        ...

    def write_adapter(self, adapter: np.ndarray) -> None:
        """Put (P,) numbers in place of the adapter's; moments and step stay as they are."""
        ...

    def step(self, batches: Sequence[Batch], settings: StepSettings) -> StepReport:
        """One optimizer step over one or more micro-batches."""
        ...

    def evaluate(self, batches: Sequence[Batch]) -> float:
        """Mean negative log likelihood of a labelled token, in nats."""
        ...

    def generate(self, tokens: Sequence[int], how: Answering) -> list[int]:
        """New tokens after the given ones; ends with a stop token or after `max_new_tokens`."""
        ...
