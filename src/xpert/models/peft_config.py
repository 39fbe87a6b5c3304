"""The settings of peft that a LoRA adapter may have, one model for all of them: their types, their bounds.

Knows JSON values only; never imports peft. What passes here, `PeftModel.from_pretrained` reads as well, and it is B A
on given layers and nothing else. Names and patterns must be plain, since peft reads some of them as regular
expressions, and a stranger's expression could take for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from xpert.errors import DamagedModelError
from xpert.printing import printable

MOST_ENTRIES = 4096
"""Longest list or table of layers; the largest models have some hundreds of layers."""

MOST_ALPHA = 2**31
MOST_RANK = 2**31 - 1


def _in_effect(value: object) -> None:
    """Only what leaves a feature of peft switched off: no value, or an empty list or table."""
    if value is not None and value != [] and value != {}:
        raise ValueError("is set")


_Off = Annotated[None, BeforeValidator(_in_effect)]
"""A feature that is off; some versions of peft write an empty list or table for it."""
_Name = Annotated[str, Field(pattern=r"\A[A-Za-z0-9_.\-]{1,256}\z")]
_Pattern = Annotated[str, Field(pattern=r"\A\^?[A-Za-z0-9_.\-]{1,256}\z")]
_Names = Annotated[list[_Name], Field(max_length=MOST_ENTRIES)]
_Rank = Annotated[int, Field(ge=1, le=MOST_RANK)]
_Bounded = Field(gt=-MOST_ALPHA, lt=MOST_ALPHA)
_Alpha = Annotated[int, _Bounded] | Annotated[float, _Bounded]


class PeftConfigFile(BaseModel):
    """adapter_config.json of a plain LoRA; the names are peft's.

    Keys that this version of XPerT does not know are let through where they are numbers, text or off: newer versions
    of peft write the defaults of their own features. `unknown` names the others.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM"] | None = None
    auto_mapping: dict[str, str | None] | None = None
    peft_version: str | None = None
    base_model_name_or_path: str | None = None
    revision: str | None = None
    inference_mode: bool = False

    r: _Rank
    lora_alpha: _Alpha
    target_modules: Annotated[_Names, Field(min_length=1)]
    exclude_modules: _Names | None = None
    rank_pattern: Annotated[dict[_Pattern, _Rank], Field(max_length=MOST_ENTRIES)] = {}
    alpha_pattern: Annotated[dict[_Pattern, _Alpha], Field(max_length=MOST_ENTRIES)] = {}
    layers_to_transform: int | Annotated[list[int], Field(max_length=MOST_ENTRIES)] | None = None
    layers_pattern: Literal[""] | _Name | Annotated[list[_Name], Field(max_length=64)] | None = None
    use_rslora: bool = False
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    fan_in_fan_out: bool = False
    init_lora_weights: bool | Literal["gaussian", "orthogonal"] = True
    bias: Literal["none"] = "none"
    ensure_weight_tying: bool = False
    qalora_group_size: int = 16
    megatron_core: str | None = None

    use_dora: Literal[False] = False
    use_qalora: Literal[False] = False
    lora_bias: Literal[False] = False
    modules_to_save: _Off = None
    layer_replication: _Off = None
    target_parameters: _Off = None
    megatron_config: _Off = None
    loftq_config: _Off = None
    trainable_token_indices: None = None
    alora_invocation_tokens: None = None
    eva_config: None = None
    corda_config: None = None
    lora_ga_config: None = None
    velora_config: None = None
    kasa_config: None = None
    arrow_config: None = None
    monteclora_config: None = None
    use_bdlora: None = None

    @property
    def unknown(self) -> list[str]:
        """Keys that no known setting has and that are switched on: they may change what the adapter is."""
        extra = {key: value for key, value in (self.model_extra or {}).items() if key != "runtime_config"}
        return sorted(
            key for key, value in extra.items() if value is True or (isinstance(value, list | dict) and value)
        )


_BEYOND = "is set, which is more than B A on given layers: tune without it"
_ONE_LIST = "it must be a list of plain names of layers, no pattern, such as ['q_proj', 'v_proj']"
_RULES = {
    "peft_type": "only LORA adapters can be read",
    "task_type": "it must be 'CAUSAL_LM' or null: give an adapter of a causal language model",
    "auto_mapping": "it must be null or name a class of transformers",
    "r": "the rank must be a whole number >= 1",
    "lora_alpha": "it must be a finite number",
    "target_modules": f"{_ONE_LIST}; it must name at least one layer",
    "exclude_modules": f"{_ONE_LIST}, or null",
    "rank_pattern": "it must map plain names of layers to whole numbers >= 1",
    "alpha_pattern": "it must map plain names of layers to finite numbers",
    "layers_to_transform": "it must be a whole number, a list of whole numbers, or null",
    "layers_pattern": "it must be a plain name, a list of plain names, or null",
    "lora_dropout": "it must be a number from 0 to below 1",
    "init_lora_weights": "it must be true, false, 'gaussian' or 'orthogonal': others start from a changed base or from "
    "data; where the base is unchanged, write true, which counts for fresh adapters only; else save the adapter "
    "converted to plain LoRA (`path_initial_model_for_weight_conversion`)",
    "bias": "tune with bias='none', so that only A and B change",
    "qalora_group_size": "it must be a whole number",
    **dict.fromkeys("fan_in_fan_out inference_mode use_rslora ensure_weight_tying".split(), "it must be true or false"),
    **dict.fromkeys("peft_version base_model_name_or_path revision megatron_core".split(), "it must be text or null"),
}


def checked_config(config: Mapping[str, Any], where: str, *, known_only: bool = False) -> PeftConfigFile:
    """The settings of a configuration, each of the right type and within its bounds.

    Args:
        config: what adapter_config.json holds.
        where: how an error names the place.
        known_only: refuse keys that are not known, whatever their value.

    Raises:
        DamagedModelError: another method than LoRA, a feature beyond B A, or a value that cannot be.
    """
    _refuse_code(config, where)
    if config.get("peft_type") != "LORA":
        raise _refused("peft_type", config, where)
    try:
        found = PeftConfigFile.model_validate(dict(config))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        key = str(faults[0]["loc"][0])
        raise _refused(key, config, where) from None
    if unknown := sorted(found.model_extra or {}) if known_only else found.unknown:
        raise DamagedModelError(
            f"{where}: {printable(unknown[0], 100)} is set, which this version does not know, and it may change "
            "what the adapter is: remove it if it does not, or install a newer xpert"
        )
    if found.layers_pattern and found.layers_to_transform is None:
        raise DamagedModelError(f"{where}: layers_pattern is set without layers_to_transform, which says which layers")
    odd = [rank for rank in (found.r, *found.rank_pattern.values()) if rank % 2]
    if found.init_lora_weights == "orthogonal" and odd:
        raise DamagedModelError(
            f"{where}: init_lora_weights 'orthogonal' needs even ranks, and there is rank {odd[0]}: write true, which "
            "counts for fresh adapters only"
        )
    return found


def _refused(key: str, config: Mapping[str, Any], where: str) -> DamagedModelError:
    value = config.get(key)
    if isinstance(value, list | dict) and len(value) > MOST_ENTRIES:
        return DamagedModelError(
            f"{where}: {key} has {len(value)} entries, at most {MOST_ENTRIES} are read: name layers by what their "
            "names have in common"
        )
    if (rule := _RULES.get(key)) is None:
        return DamagedModelError(f"{where}: {key} ({short(value)}) {_BEYOND}")
    return DamagedModelError(f"{where}: {key} is {short(value)}; {rule}")


def short(value: object) -> str:
    """How an error shows what a stranger wrote."""
    return printable(repr(value), 200)


def _refuse_code(config: Mapping[str, Any], where: str) -> None:
    """No name of a Python module that loading would import."""
    mapping = config.get("auto_mapping") or {}
    library = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
    if "auto_map" in config or not (library is None or str(library).startswith("transformers.")):
        raise DamagedModelError(
            f"{where} names Python code to import (auto_map, auto_mapping), which is refused: remove the entry"
        )
