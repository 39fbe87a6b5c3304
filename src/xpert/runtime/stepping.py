"""What every runtime checks alike. Knows numbers only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from xpert.errors import MismatchError, ModelError, SettingsError
from xpert.runtime.interface import Batch, StepReport, StepSettings, TrainingState
from xpert.runtime.manifest import Manifest


def label_count(batches: Sequence[Batch]) -> int:
    """Labelled tokens of all batches.

    Raises:
        SettingsError: there is none.
    """
    count = sum(len(batch.targets) for batch in batches)
    if count == 0:
        raise SettingsError("the batches hold no labelled token, at least 1 is needed: give samples with a response")
    return count


def mean_loss(batches: Sequence[Batch], total: Callable[[Batch], float]) -> float:
    """Mean over all labelled tokens, of the totals of the batches.

    Raises:
        SettingsError: no labelled token.
        ModelError: the mean is not finite.
    """
    count = label_count(batches)
    loss = math.fsum(total(batch) for batch in batches) / count
    if not math.isfinite(loss):
        raise ModelError(f"validation loss is {loss}: the adapter's weights are damaged or have diverged")
    return loss


def check_finite(report: StepReport, step: int, settings: StepSettings) -> None:
    """Refuse a step whose numbers are not finite.

    Raises:
        ModelError: they are not.
    """
    if not (math.isfinite(report.loss) and math.isfinite(report.gradient_norm)):
        raise ModelError(
            f"step {step}: the loss is {report.loss} and the gradient's length {report.gradient_norm}, which must be "
            f"finite: use a lower learning_rate than {settings.learning_rate:g}"
        )


def check_state(state: TrainingState, manifest: Manifest) -> None:
    """Refuse a state of another adapter.

    Raises:
        MismatchError: its arrays have other sizes.
    """
    wanted = (manifest.adapter.size,)
    for name in ("adapter", "first_moment", "second_moment"):
        found = getattr(state, name).shape
        if found != wanted:
            raise MismatchError(
                f"the state's {name} has shape {found}, the export's adapter has {wanted}: it belongs to another export"
            )
