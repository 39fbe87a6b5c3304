"""What an interrupted run needs to resume: one file, replaced whole or not at all.

Knows tensors and numbers; nothing of models. The file is safetensors; its header holds the rest as JSON, and a seal.
There is no random state in it: every step is seeded by the run's seed and its own number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from xpert.errors import DamagedModelError, SettingsError
from xpert.models.folders import no_interrupt as no_interrupt
from xpert.sealing import KEY, OPEN, is_whole, seal
from xpert.tuning.progress import Progress as Progress
from xpert.tuning.progress import discard as discard
from xpert.tuning.progress import partial_folder as partial_folder
from xpert.writing import whole_file

_FILE = "checkpoint.safetensors"


def save(folder: Path, progress: Progress, tensors: Mapping[str, torch.Tensor], identity: Mapping[str, str]) -> None:
    """Write a checkpoint, replacing the one before; after a crash at any point one of the two is whole.

    Args:
        folder: the partial folder; made where missing.
        progress: how far the run is.
        tensors: flat, contiguous tensors by name.
        identity: digests that must equal those of a run that resumes here, such as those of settings and data.

    Raises:
        StorageError: the disk refused; the checkpoint before stays.
    """
    state = {"progress": asdict(progress), "identity": dict(identity)}
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(folder / _FILE) as fresh:
        save_file(flat, fresh, {"format": "pt", "xpert": json.dumps(state), KEY: OPEN})
        seal(fresh)


def load(folder: Path, identity: Mapping[str, str]) -> tuple[Progress, dict[str, torch.Tensor]] | None:
    """The checkpoint of a folder, or None where there is none.

    Raises:
        SettingsError: it belongs to a run with other settings, data or base.
        DamagedModelError: it cannot be read, or a byte of it changed.
    """
    file = folder / _FILE
    if not file.is_file():
        return None
    try:
        if not is_whole(file):
            raise ValueError("a byte of it changed since it was written")
        with safe_open(file, framework="pt") as stream:
            told = stream.metadata() or {}
            if told.keys() - {"format", "xpert", KEY}:
                raise ValueError("its header was changed")
            state = json.loads(told["xpert"])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        progress = Progress(**state["progress"])
        progress.validation_losses = [(step, loss) for step, loss in progress.validation_losses]
        found = dict(state["identity"])
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
    return progress, tensors


def forget(folder: Path) -> None:
    """Remove the checkpoint of a folder, so that the next run starts anew; other files stay."""
    (folder / _FILE).unlink(missing_ok=True)
