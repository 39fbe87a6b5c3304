"""What a run starts from: the base with a fresh adapter, or with one that is continued.

Knows references, peft configurations and settings; never sees samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from xpert.errors import SettingsError
from xpert.models.adapters import check_fit, inspect_adapter
from xpert.models.attaching import attach
from xpert.models.known_bases import remember_base
from xpert.models.loading import LoadedModel, load_model
from xpert.models.reference import ModelReference, resolve_folder, shared_name
from xpert.tuning.settings import TuningSettings

_DTYPES = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16}


def random_devices(device: torch.device) -> list[torch.device]:
    """Devices whose random state `torch.random.fork_rng` must put back besides the CPU's."""
    return [device] if device.type == "cuda" else []


def open_trainable(
    reference: ModelReference, settings: TuningSettings, device: str = "auto"
) -> tuple[LoadedModel, tuple[str, ...]]:
    """The base in memory with a trainable LoRA adapter on it, and the digests of the adapters it continues.

    Raises:
        SettingsError: layers that the model does not have, or samples longer than it reads.
        MissingModelError, DamagedModelError, MismatchError: the base or the adapter cannot be used.
    """
    parents: tuple[str, ...] = ()
    if reference.adapter is not None:
        facts = inspect_adapter(Path(reference.adapter))
        check_fit(facts, resolve_folder(reference.model, reference.revision))
        parents = (facts.digest,)
    base = ModelReference(reference.model, revision=reference.revision)
    loaded = load_model(base, device=device, dtype=_DTYPES[settings.dtype])
    _check_length(loaded.model, settings)
    with torch.random.fork_rng(devices=random_devices(loaded.device)):
        torch.manual_seed(settings.seed % 2**63)
        if reference.adapter is None:
            loaded.model = _begin(loaded.model, settings)
        else:
            loaded.model = attach(loaded.model, Path(reference.adapter), trainable=True, dropout=settings.dropout)
    config = loaded.model.peft_config["default"]
    config.base_model_name_or_path = shared_name(reference.model)
    config.revision = reference.revision
    remember_base(base, loaded.digest)
    if settings.gradient_checkpointing:
        loaded.model.get_base_model().gradient_checkpointing_enable(
            gradient_checkpointing_kwargs={"use_reentrant": False}
        )
    return loaded, parents


def _check_length(model: Any, settings: TuningSettings) -> None:
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if isinstance(limit, int) and 0 < limit < settings.max_length_tokens:
        raise SettingsError(
            f"max_length_tokens is {settings.max_length_tokens}, the model reads {limit} at most: use {limit} or less"
        )


def _begin(model: Any, settings: TuningSettings) -> Any:
    targets = settings.target_modules
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        layers = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if hasattr(module, "weight")}
        raise SettingsError(
            f"target_modules {targets!r} does not fit: {error} This model has {', '.join(sorted(layers))}"
        ) from error
