"""An adapter on disk: a plain peft folder with its card, whole or not there.

Knows files and peft; never sees samples or steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from xpert.errors import ModelError
from xpert.models.adapters import ADAPTER_FILES
from xpert.models.cards import write_card
from xpert.models.folders import whole_folder
from xpert.models.reference import folder_digest


def publish(model: Any, out: Path, card: str) -> None:
    """Write the adapter of a peft model under another name in the same folder, then rename it to `out`.

    Args:
        model: a peft model with one adapter.
        out: the adapter folder; must be free.
        card: text of README.md.

    Raises:
        ModelError: the adapter holds numbers that are not finite.
        SettingsError: `out` is taken.
        StorageError: the disk refused; nothing is left.
    """
    check_finite(model)
    config = model.peft_config["default"]
    if not isinstance(config.target_modules, str):
        config.target_modules = sorted(config.target_modules)  # the order of a set differs from run to run
    with whole_folder(out) as fresh:
        model.save_pretrained(str(fresh), save_embedding_layers=False)
        write_card(fresh, card, folder_digest(fresh, ADAPTER_FILES))


def check_finite(model: Any) -> None:
    """See that what was trained holds finite numbers.

    Raises:
        ModelError: it does not.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            raise ModelError(f"{name} holds numbers that are not finite: use a lower learning_rate")
