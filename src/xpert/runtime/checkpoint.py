"""What an interrupted run on a device needs to go on: one safetensors file, replaced whole or not at all.

Knows arrays and numbers; torch is not needed. The file holds `adapter`, `first_moment`, `second_moment` and `best`,
(P,) each; its header holds step, losses and digests as JSON under `xpert`. Where in the data a run is follows from the
step.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from xpert.errors import DamagedModelError, SettingsError
from xpert.models.folders import sync_to_disk
from xpert.runtime.interface import TrainingState

STATE_FILE = "state.safetensors"


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


@contextmanager
def no_interrupt() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block, so that what is done in it is done whole."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python interrupts the main thread only.
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        if held:
            signal.raise_signal(signal.SIGINT)


def save(folder: Path, progress: Progress, state: TrainingState, best: np.ndarray, identity: Mapping[str, str]) -> None:
    """Write a checkpoint, replacing the one before; after a crash at any point one of the two is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"{STATE_FILE}.new"
    arrays = {
        "adapter": state.adapter,
        "first_moment": state.first_moment,
        "second_moment": state.second_moment,
        "best": best,
    }
    header = {"xpert": json.dumps({"progress": asdict(progress), "identity": dict(identity)})}
    save_file(arrays, fresh, header)
    sync_to_disk(fresh)
    os.replace(fresh, folder / STATE_FILE)
    sync_to_disk(folder)


def load(folder: Path, identity: Mapping[str, str]) -> tuple[Progress, TrainingState, np.ndarray] | None:
    """Progress, state and best adapter of a folder's checkpoint, or None where there is none.

    Raises:
        SettingsError: it belongs to a run with other settings, data or artifacts.
        DamagedModelError: it cannot be read.
    """
    file = folder / STATE_FILE
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="np") as stream:
            told = json.loads(stream.metadata()["xpert"])
            adapter, first, second, best = (
                stream.get_tensor(name) for name in ("adapter", "first_moment", "second_moment", "best")
            )
        progress = Progress(**told["progress"])
        progress.validation_losses = [(step, loss) for step, loss in progress.validation_losses]
        found = dict(told["identity"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedModelError(
            f"checkpoint {file} cannot be read ({error}): delete {folder}, or pass fresh=True to start anew"
        ) from error
    other = [name for name, value in identity.items() if found.get(name) != value]
    if other:
        raise SettingsError(
            f"{folder} is an unfinished run with other {' and '.join(other)}: give the same to finish it, delete the "
            "folder, or pass fresh=True to start anew"
        )
    return progress, TrainingState(progress.step, adapter, first, second), best


def discard(folder: Path) -> None:
    """Remove a folder; renamed first, so that half a folder is never taken for a whole one."""
    if folder.exists():
        doomed = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
