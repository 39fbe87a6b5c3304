"""A checked LoRA adapter put on a model in memory. Knows peft; loads no base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xpert.errors import DamagedModelError
from xpert.printing import printable


def attach(model: Any, folder: Path, *, trainable: bool = False, dropout: float | None = None) -> Any:
    """The model with an adapter on, as peft reads it from a folder that `inspect_adapter` and `check_fit` passed.

    Args:
        model: of transformers, without an adapter.
        folder: of the adapter.
        trainable: whether its matrices are learned.
        dropout: of the training; None: the adapter's own.

    Raises:
        DamagedModelError: peft refuses it all the same.
    """
    from peft import PeftConfig, PeftModel

    try:
        config = PeftConfig.from_pretrained(str(folder))
        if dropout is not None:
            config.lora_dropout = dropout
        return PeftModel.from_pretrained(model, str(folder), is_trainable=trainable, config=config)
    except Exception as error:  # each of its features raises something else: TypeError, KeyError, RuntimeError, ...
        reason = printable(" ".join(str(error).split()), 300)
        raise DamagedModelError(
            f"adapter {folder} cannot be put on {type(model).__name__} ({type(error).__name__}: {reason}): save it "
            "again with `save_pretrained`, or tune with the peft that is installed"
        ) from error
