"""What an interrupted run on a device needs to resume: one safetensors file, replaced whole or not at all.

Knows arrays and numbers; torch is not needed. The file holds `adapter`, `first_moment`, `second_moment` and `best`,
(P,) each; its header holds step, losses and digests as JSON under `xpert`, and a seal (see `xpert.sealing`). Where in
the data a run is follows from the step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from xpert.errors import DamagedModelError, SettingsError
from xpert.models.folders import no_interrupt as no_interrupt
from xpert.runtime.interface import TrainingState
from xpert.sealing import KEY, OPEN, is_whole, seal
from xpert.tuning.progress import Progress as Progress
from xpert.tuning.progress import discard as discard
from xpert.tuning.progress import partial_folder as partial_folder
from xpert.writing import whole_file

STATE_FILE = "state.safetensors"


def save(folder: Path, progress: Progress, state: TrainingState, best: np.ndarray, identity: Mapping[str, str]) -> None:
    """Write a checkpoint, replacing the one before; after a crash at any point one of the two is whole.

    Raises:
        StorageError: the disk refused; the checkpoint before stays.
    """
    arrays = {
        "adapter": state.adapter,
        "first_moment": state.first_moment,
        "second_moment": state.second_moment,
        "best": best,
    }
    header = {"xpert": json.dumps({"progress": asdict(progress), "identity": dict(identity)}), KEY: OPEN}
    with whole_file(folder / STATE_FILE) as fresh:
        save_file(arrays, fresh, header)
        seal(fresh)


def check_state(file: Path) -> None:
    """See that a state is the one that was written; one of before there were seals cannot tell.

    Raises:
        ValueError: a byte of it changed.
        OSError: it cannot be read.
    """
    if not is_whole(file):
        raise ValueError("a byte of it changed since it was written")


def load(folder: Path, identity: Mapping[str, str]) -> tuple[Progress, TrainingState, np.ndarray] | None:
    """Progress, state and best adapter of a folder's checkpoint, or None where there is none.

    Raises:
        SettingsError: it belongs to a run with other settings, data or artifacts.
        DamagedModelError: it cannot be read, or a byte of it changed.
    """
    file = folder / STATE_FILE
    if not file.is_file():
        return None
    try:
        check_state(file)
        with safe_open(file, framework="np") as stream:
            header = stream.metadata() or {}
            if header.keys() - {"xpert", KEY}:
                raise ValueError("its header was changed")
            told = json.loads(header["xpert"])
            adapter, first, second, best = (
                stream.get_tensor(name) for name in ("adapter", "first_moment", "second_moment", "best")
            )
        progress = Progress(**told["progress"])
        progress.validation_losses = [(step, loss) for step, loss in progress.validation_losses]
        found = dict(told["identity"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedModelError(
            f"checkpoint {file} cannot be read ({error}): delete {folder}, or start anew with --fresh (fresh=True)"
        ) from error
    other = [name for name, value in identity.items() if found.get(name) != value]
    if other:
        raise SettingsError(
            f"{folder} is an unfinished run with other {' and '.join(other)}: give the same to finish it, delete the "
            "folder, or pass fresh=True to start anew"
        )
    return progress, TrainingState(progress.step, adapter, first, second), best
