"""What an interrupted run needs to go on: one file, replaced whole or not at all.

Knows tensors and numbers; nothing of models. The file is safetensors; its header holds the rest as JSON.
There is no random state in it: every step is seeded by the run's seed and its own number.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from xpert.errors import DamagedModelError, SettingsError
from xpert.models.folders import no_interrupt as no_interrupt
from xpert.models.folders import sync_to_disk

_FILE = "checkpoint.safetensors"


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


def save(folder: Path, progress: Progress, tensors: Mapping[str, torch.Tensor], identity: Mapping[str, str]) -> None:
    """Write a checkpoint, replacing the one before; after a crash at any point one of the two is whole.

    Args:
        folder: the partial folder; made where missing.
        progress: how far the run is.
        tensors: flat, contiguous tensors by name.
        identity: digests that a run must share to go on from here, such as those of settings and data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {"progress": asdict(progress), "identity": dict(identity)}
    fresh = folder / f"{_FILE}.new"
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, fresh, _header(state))
    sync_to_disk(fresh)
    os.replace(fresh, folder / _FILE)
    sync_to_disk(folder)


def _header(state: object) -> dict[str, str]:
    return {"format": "pt", "xpert": json.dumps(state)}


def load(folder: Path, identity: Mapping[str, str]) -> tuple[Progress, dict[str, torch.Tensor]] | None:
    """The checkpoint of a folder, or None where there is none.

    Raises:
        SettingsError: it belongs to a run with other settings, data or base.
        DamagedModelError: it cannot be read.
    """
    file = folder / _FILE
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as stream:
            state = json.loads(stream.metadata()["xpert"])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        progress = Progress(**state["progress"])
        progress.validation_losses = [(step, loss) for step, loss in progress.validation_losses]
        found = dict(state["identity"])
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
    return progress, tensors


def forget(folder: Path) -> None:
    """Remove the checkpoint of a folder, so that the next run starts anew; other files stay."""
    (folder / _FILE).unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Remove a folder; renamed first, so that half a folder is never taken for a whole one."""
    if folder.exists():
        doomed = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
