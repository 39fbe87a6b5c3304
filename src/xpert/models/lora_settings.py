"""What a LoRA's configuration says about its layers, computed as peft computes it: rank, scale, which are adapted.

Knows one JSON file; never imports peft, nor anything that the file names. What may stand in it is in `peft_config`.
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
from xpert.models.peft_config import MOST_ENTRIES, checked_config

CONFIG_CAP_BYTES = 2**20
"""Largest configuration or card that is read; usual ones have a few thousand bytes."""


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
        block_names: names of the lists that the blocks are counted in; empty: any.
        dropout: share of A's inputs that training drops; nothing is dropped while answering.
        ties_layers: an adapter of the embedding table counts for the head that shares its weight as well.
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
    block_names: tuple[str, ...] = ()
    dropout: float = 0.0
    ties_layers: bool = False

    def rank_of(self, module: str) -> int:
        """Rank of one layer, as peft reads `rank_pattern`."""
        return _by_pattern(self.rank_pattern, module, self.rank)

    def alpha_of(self, module: str) -> float:
        """Alpha of one layer, as peft reads `alpha_pattern`."""
        return _by_pattern(self.alpha_pattern, module, self.alpha)

    def scale_of(self, module: str) -> float:
        """What B A of one layer is multiplied by: alpha / r, or alpha / sqrt(r)."""
        rank = self.rank_of(module)
        return self.alpha_of(module) / (math.sqrt(rank) if self.rank_stabilized else rank)

    def adapts(self, module: str) -> bool:
        """True when the layer of this name is to be adapted, as peft decides it."""
        if named(module, self.excluded) or not named(module, self.target_modules):
            return False
        if self.blocks is None or module in self.target_modules:
            return True
        block = self._block(module)
        return block is not None and block in self.blocks

    def _block(self, module: str) -> int | None:
        """Number of the block that a layer stands in: the first number in its name, behind the right list's name."""
        for name in self.block_names or ("[^.]*",):
            lead = r".*?\." if not self.block_names else r"(?:^|.*?\.)"
            if found := _compiled_block(f"{lead}{name}").match(module):
                return int(found[1])
        return None


_Number = TypeVar("_Number", int, float)


@lru_cache(maxsize=2 * MOST_ENTRIES)
def _compiled(pattern: str) -> re.Pattern[str]:
    """As peft reads it; once, not for every layer."""
    return re.compile(rf"(.*\.)?({pattern})$")


@lru_cache(maxsize=256)
def _compiled_block(lead: str) -> re.Pattern[str]:
    return re.compile(rf"{lead}\.(\d+)\.")


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
    return lora_settings(strict_json(read_capped(path), str(path)), str(path))


def lora_settings(config: Mapping[str, Any], where: str, *, known_only: bool = False) -> LoraSettings:
    """The settings that a configuration of peft states.

    Args:
        config: its keys and values.
        where: how an error names the place.
        known_only: refuse keys that are not known, as diffusers does, which hands them all to peft.

    Raises:
        DamagedModelError: another method than LoRA, or a value that cannot be.
    """
    found = checked_config(config, where, known_only=known_only)
    blocks, names = found.layers_to_transform, found.layers_pattern
    return LoraSettings(
        base_name=found.base_model_name_or_path or "",
        rank=found.r,
        alpha=float(found.lora_alpha),
        target_modules=tuple(sorted(set(found.target_modules))),
        rank_pattern=dict(found.rank_pattern),
        alpha_pattern={name: float(alpha) for name, alpha in found.alpha_pattern.items()},
        rank_stabilized=found.use_rslora,
        excluded=tuple(sorted(set(found.exclude_modules or ()))),
        blocks=((blocks,) if isinstance(blocks, int) else tuple(blocks or ())) or None,
        block_names=((names,) if names else ()) if isinstance(names, str) else tuple(names or ()),
        dropout=found.lora_dropout,
        ties_layers=found.ensure_weight_tying,
    )
