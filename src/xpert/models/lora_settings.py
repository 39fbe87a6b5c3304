"""The part of a peft configuration that decides what a LoRA adapter is; everything else in it is refused or ignored.

Knows one JSON file; never imports peft, nor anything that the file names. Names and patterns must be plain, since
peft reads some of them as regular expressions, and an uploaded one could take for ever.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from xpert.errors import DamagedModelError
from xpert.models.headers import strict_json

CONFIG_CAP_BYTES = 2**20
"""Largest configuration or card that is read; usual ones have a few thousand bytes."""

MOST_ENTRIES = 4096
"""Longest list or table of layers; the largest models have some hundreds of layers."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,256}")
_PLAIN_PATTERN = re.compile(r"\^?[A-Za-z0-9_.\-]{1,256}")
_BEYOND_LORA = (
    "alora_invocation_tokens", "arrow_config", "kasa_config", "layer_replication", "layers_pattern", "lora_bias",
    "megatron_config", "modules_to_save", "monteclora_config", "target_parameters", "trainable_token_indices",
    "use_bdlora", "use_dora", "use_qalora", "velora_config",
)  # fmt: skip
"""Settings of peft that make an adapter more than B A, or its loading more than reading tensors."""


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """What a configuration says about its layers.

    Attributes:
        base_name: what it calls the base.
        rank: rank r of layers that `rank_pattern` does not name.
        alpha: of layers that `alpha_pattern` does not name.
        target_modules: sorted names, or ends of names, of the adapted layers.
        rank_pattern: name of a layer, or its end -> rank.
        alpha_pattern: name of a layer, or its end -> alpha.
        rank_stabilized: B A is scaled by alpha / sqrt(r) (rsLoRA) in place of alpha / r.
        excluded: layers that are left out although `target_modules` names them.
        blocks: numbers of the adapted blocks; None: all.
    """

    base_name: str
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    rank_stabilized: bool = False
    excluded: tuple[str, ...] = ()
    blocks: tuple[int, ...] | None = None

    def rank_of(self, module: str) -> int:
        """Rank of one layer, as peft reads `rank_pattern`."""
        return _by_pattern(self.rank_pattern, module, self.rank)

    def scale_of(self, module: str) -> float:
        """What B A of one layer is multiplied by: alpha / r, or alpha / sqrt(r)."""
        rank = self.rank_of(module)
        alpha = _by_pattern(self.alpha_pattern, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)

    def adapts(self, module: str) -> bool:
        """True when the layer of this name is to be adapted, as peft decides it."""
        if named(module, self.excluded) or not named(module, self.target_modules):
            return False
        if self.blocks is None or module in self.target_modules:
            return True
        block = re.match(r".*?\.[^.]*\.(\d+)\.", module)
        return block is not None and int(block[1]) in self.blocks


_Number = TypeVar("_Number", int, float)


@lru_cache(maxsize=2 * MOST_ENTRIES)
def _compiled(pattern: str) -> re.Pattern[str]:
    """As peft reads it; once, not for every layer."""
    return re.compile(rf"(.*\.)?({pattern})$")


def _by_pattern(patterns: Mapping[str, _Number], module: str, otherwise: _Number) -> _Number:
    for pattern, value in patterns.items():
        if _compiled(pattern).match(module):
            return value
    return otherwise


def named(module: str, names: tuple[str, ...]) -> bool:
    """True when one of the names is the layer's, or the end of it after a dot."""
    return any(module == name or module.endswith(f".{name}") for name in names)


def read_capped(path: Path) -> bytes:
    """The content of a small file.

    Raises:
        DamagedModelError: it has more than `CONFIG_CAP_BYTES`.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        raw = stream.read(CONFIG_CAP_BYTES + 1)
    if len(raw) > CONFIG_CAP_BYTES:
        raise DamagedModelError(f"{path} is larger than {CONFIG_CAP_BYTES} bytes: a configuration has a few thousand")
    return raw


def read_lora_settings(path: Path) -> LoraSettings:
    """Read adapter_config.json and refuse what is more than plain LoRA.

    Raises:
        DamagedModelError: no JSON object, another method than LoRA, or a value that cannot be.
        OSError: it cannot be read.
    """
    config = strict_json(read_capped(path), str(path))
    _refuse_more_than_lora(config, path)

    def refuse(key: str, rule: str) -> DamagedModelError:
        return DamagedModelError(f"{path}: {key} is {_short(config.get(key))}; {rule}")

    def short(key: str, empty: Any) -> Any:
        given = config.get(key) or empty
        if isinstance(given, list | dict) and len(given) > MOST_ENTRIES:
            raise DamagedModelError(
                f"{path}: {key} has {len(given)} entries, at most {MOST_ENTRIES} are read: name layers by what their "
                "names have in common"
            )
        return given

    def names(key: str) -> tuple[str, ...]:
        given = short(key, [])
        if not isinstance(given, list) or not all(isinstance(n, str) and _PLAIN_NAME.fullmatch(n) for n in given):
            raise refuse(key, "it must be a list of plain names of layers, no pattern")
        return tuple(sorted(set(given)))

    def pattern(key: str) -> dict[str, Any]:
        given = short(key, {})
        plain = isinstance(given, dict) and all(_PLAIN_PATTERN.fullmatch(name) for name in given)
        if not plain or not all(type(value) in (int, float) for value in given.values()):
            raise refuse(key, "it must map plain names of layers to numbers")
        return dict(given)

    alpha, blocks, ranks = config.get("lora_alpha"), config.get("layers_to_transform"), pattern("rank_pattern")
    alphas, stabilized = pattern("alpha_pattern"), config.get("use_rslora") or False
    if not _is_rank(config.get("r")):
        raise refuse("r", "the rank must be a whole number >= 1")
    if not _is_alpha(alpha):
        raise refuse("lora_alpha", "it must be a finite number")
    if not all(_is_alpha(value) for value in alphas.values()):
        raise refuse("alpha_pattern", "every alpha must be a finite number")
    if not isinstance(stabilized, bool):
        raise refuse("use_rslora", "it must be true or false")
    if not all(_is_rank(value) for value in ranks.values()):
        raise refuse("rank_pattern", "every rank must be a whole number >= 1")
    blocks = [blocks] if isinstance(blocks, int) else short("layers_to_transform", [])
    if not isinstance(blocks, list) or not all(type(number) is int for number in blocks):
        raise refuse("layers_to_transform", "it must be a list of whole numbers")
    if not (targets := names("target_modules")):
        raise refuse("target_modules", "it must name at least one layer")
    base = config.get("base_model_name_or_path")
    return LoraSettings(
        base_name=base if isinstance(base, str) else "",
        rank=config["r"],
        alpha=float(config["lora_alpha"]),
        target_modules=targets,
        rank_pattern=ranks,
        alpha_pattern=alphas,
        rank_stabilized=stabilized,
        excluded=names("exclude_modules"),
        blocks=tuple(blocks) or None,
    )


def _short(value: object) -> str:
    """How an error shows what a stranger wrote."""
    return repr(value)[:200]


def _is_rank(value: object) -> bool:
    return type(value) is int and 0 < value < 2**31


def _is_alpha(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < 2**31 and math.isfinite(value)


def _refuse_more_than_lora(config: Mapping[str, Any], path: Path) -> None:
    """Only B A, and no name of a Python module that loading would import."""
    if config.get("peft_type") != "LORA":
        raise DamagedModelError(
            f"{path}: peft_type is {_short(config.get('peft_type'))}; only LORA adapters can be read"
        )
    mapping = config.get("auto_mapping") or {}
    library = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
    if "auto_map" in config or not (library is None or str(library).startswith("transformers.")):
        raise DamagedModelError(
            f"{path} names Python code to import (auto_map, auto_mapping), which is refused: remove the entry"
        )
    if config.get("bias", "none") != "none":
        raise DamagedModelError(
            f"{path}: bias is {_short(config['bias'])}; tune with bias='none', so that only A and B change"
        )
    if (start := config.get("init_lora_weights", True)) not in (True, False, "gaussian", "orthogonal"):
        raise DamagedModelError(
            f"{path}: init_lora_weights {_short(start)} changes the weights of the base while loading: save the "
            "adapter converted to plain LoRA (`path_initial_model_for_weight_conversion`)"
        )
    for key in _BEYOND_LORA:
        if config.get(key):
            raise DamagedModelError(f"{path}: {key} is set, which is more than B A on given layers: tune without it")
