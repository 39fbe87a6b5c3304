"""LoRA weights as one long vector and as a plain peft file. Knows numpy and safetensors only.

The vector holds the matrices one after the other, row by row, in the order of the manifest. That is the order of the
bytes in the file that peft wrote, so the bytes behind that file's header are the vector itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from xpert.errors import DamagedModelError, MismatchError
from xpert.models.adapters import CONFIG, WEIGHTS, inspect_adapter
from xpert.runtime.manifest import ADAPTER, Manifest

_SHAPING = ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules")
"""Settings of peft that the graphs were written for."""


def flatten(tensors: Mapping[str, np.ndarray], manifest: Manifest, source: object) -> np.ndarray:
    """The vector (P,) of named matrices.

    Raises:
        MismatchError: other names or shapes than the manifest's; the text names the first.
    """
    wanted = {parameter.name: parameter.shape for parameter in manifest.adapter.parameters}
    found = {name: tuple(array.shape) for name, array in tensors.items()}
    if found != wanted:
        name = min(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        raise MismatchError(
            f"{source} does not fit: {name!r} is {found.get(name, 'missing')}, the export needs "
            f"{wanted.get(name, 'none of that name')}: export the base with this adapter"
        )
    return np.concatenate([np.asarray(tensors[name], dtype=np.float32).reshape(-1) for name in wanted])


def unflatten(vector: np.ndarray, manifest: Manifest) -> dict[str, np.ndarray]:
    """Named matrices of the vector (P,), each a copy."""
    return {
        parameter.name: vector[parameter.offset : parameter.offset + parameter.size].reshape(parameter.shape).copy()
        for parameter in manifest.adapter.parameters
    }


def read_own_adapter(folder: Path, manifest: Manifest) -> np.ndarray:
    """The vector of the adapter that lies in an exported folder."""
    return read_vector(folder / ADAPTER / WEIGHTS, manifest)


def read_vector(file: Path, manifest: Manifest) -> np.ndarray:
    """The vector of a peft file.

    Raises:
        DamagedModelError: it cannot be read.
        MismatchError: it holds other matrices than the export.
    """
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError, TypeError) as error:
        raise DamagedModelError(f"{file} cannot be read ({error}): save or download it again") from error
    return flatten(tensors, manifest, file)


def read_adapter(adapter: Path, folder: Path, manifest: Manifest) -> np.ndarray:
    """The vector of any peft adapter, after it was compared with the base and the adapter of an export.

    Args:
        adapter: a peft folder.
        folder: the export.
        manifest: of the export.

    Raises:
        MismatchError: it belongs to another base, or the graphs were written for other ranks, scales or layers.
        MissingModelError, DamagedModelError: it cannot be read.
    """
    facts = inspect_adapter(adapter)
    for what, given, wanted in (
        ("base", facts.base_digest, manifest.base.sha256),
        ("tokenizer", facts.tokenizer_digest, manifest.base.tokenizer_sha256),
    ):
        if given is not None and given != wanted:
            raise MismatchError(
                f"adapter {adapter} belongs to {what} {given[:12]}…, {folder} was exported from {wanted[:12]}… "
                f"({manifest.base.name}): give an adapter of that base, or export the other base"
            )
    own, other = _shaping(folder / ADAPTER), _shaping(adapter)
    for key in _SHAPING:
        if own[key] != other[key]:
            raise MismatchError(
                f"adapter {adapter} has {key} {other[key]!r}, {folder} was exported for {own[key]!r}: run "
                "`xpert export` with this adapter"
            )
    return read_vector(adapter / WEIGHTS, manifest)


def _shaping(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    found = {key: config.get(key) or None for key in _SHAPING}
    found["target_modules"] = sorted(config["target_modules"])
    return found


def write_peft(folder: Path, vector: np.ndarray, config: Mapping[str, Any], manifest: Manifest) -> None:
    """Configuration and weights of a peft adapter into a folder that is there.

    Raises:
        ModelError: the vector holds numbers that are not finite.
    """
    if not np.isfinite(vector).all():
        raise DamagedModelError("the adapter holds numbers that are not finite: tune again with a lower learning_rate")
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    save_file(unflatten(vector, manifest), folder / WEIGHTS, {"format": "pt"})
