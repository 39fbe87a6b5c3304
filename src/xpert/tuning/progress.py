"""How far a run is, and where it lies until it is finished: the same for torch and for devices. Knows no tensors."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from xpert.writing import name_aside, sweep


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: optimizer steps taken.
        train_losses: one a step, in nats a response token.
        validation_losses: (step, loss) of every evaluation.
        reported: last step that the caller was told of; -1 before the first.
        seconds: wall time of steps and evaluations so far.
        cpu_seconds: processor time of the same.
    """

    step: int = 0
    train_losses: list[float] = field(default_factory=list)
    validation_losses: list[tuple[int, float]] = field(default_factory=list)
    reported: int = -1
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and loss of the lowest evaluation, the first of equals; None before any."""
        return min(self.validation_losses, key=lambda entry: entry[1], default=None)

    def waiting(self, min_delta: float) -> int:
        """Evaluations in a row, up to now, that were not more than `min_delta` below the lowest before."""
        lowest, count = float("inf"), 0
        for _, loss in self.validation_losses:
            count = 0 if loss < lowest - min_delta else count + 1
            lowest = min(lowest, loss) if count == 0 else lowest
        return count


def partial_folder(out: Path) -> Path:
    """Where the unfinished run of `out` lies: next to it."""
    return out.with_name(out.name + ".partial")


def discard(folder: Path) -> None:
    """Remove a folder; renamed first, so that half a folder is never taken for a whole one."""
    sweep(folder.parent)
    doomed = name_aside(folder, "old")
    with suppress(FileNotFoundError):  # nothing there, or another program was faster
        os.replace(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
