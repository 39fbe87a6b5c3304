"""Weights that a device trained become a plain peft adapter, which any program of the field opens.

Knows files; torch is not needed.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from xpert.errors import DamagedModelError, MismatchError
from xpert.models.adapters import ADAPTER_FILES, CONFIG
from xpert.models.cards import write_card
from xpert.models.folders import check_free, whole_folder
from xpert.models.reference import folder_digest
from xpert.runtime.adapters import flatten, write_peft
from xpert.runtime.checkpoint import check_state
from xpert.runtime.manifest import ADAPTER, Manifest, check_file, read_manifest

_VECTORS = ("best", "adapter")


def adopt(folder: Path, trained: Path, out: Path) -> Path:
    """Write an adapter that came back from a device as a peft folder.

    Args:
        folder: the export that the device trained with.
        trained: a safetensors file with the matrices by their names in peft, or with a long vector `best` or `adapter`,
            as a saved state has it; the best counts where there is one.
        out: the adapter folder; must be free.

    Returns:
        `out`.

    Raises:
        SettingsError: `out` is taken.
        MismatchError: the file belongs to another export.
        DamagedModelError: it cannot be read, or holds numbers that are not finite.
    """
    check_free(out)
    manifest = read_manifest(folder, verify=False)
    check_file(folder, f"{ADAPTER}/{CONFIG}", manifest)
    vector = read_trained(trained, manifest)
    write_adapter_folder(folder, manifest, vector, out, _card(out.name, manifest))
    return out


def read_trained(file: Path, manifest: Manifest) -> np.ndarray:
    """The vector (P,) in a file that came back from a device."""
    try:
        check_state(file)
        tensors = load_file(file)
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise DamagedModelError(f"{file} cannot be read ({error}): send it from the device again") from error
    name = next((name for name in _VECTORS if name in tensors), None)
    if name is None:
        return flatten(tensors, manifest, file)
    vector = tensors[name]
    if vector.shape != (manifest.adapter.size,) or vector.dtype != np.float32:
        raise MismatchError(
            f"{file}: {name} has shape {vector.shape} of {vector.dtype}, the export's adapter has "
            f"({manifest.adapter.size},) of float32: give the export that the device trained with"
        )
    return vector


def write_adapter_folder(folder: Path, manifest: Manifest, vector: np.ndarray, out: Path, card: str) -> None:
    """A peft folder with weights, the configuration of the export's own adapter, and a card; whole or not there."""
    config = json.loads((folder / ADAPTER / CONFIG).read_text("utf-8"))
    config["inference_mode"] = True
    with whole_folder(out) as fresh:
        write_peft(fresh, vector, config, manifest)
        write_card(fresh, card, folder_digest(fresh, ADAPTER_FILES))


def _card(name: str, manifest: Manifest) -> str:
    """A card with the digests by which the adapter is told from one of another base."""
    base = manifest.base
    return (
        f"---\nlibrary_name: peft\nbase_model: {json.dumps(base.name)}\ntags:\n- lora\n- xpert\n- personalized\n"
        f"xpert:\n  base_sha256: {base.sha256}\n  tokenizer_sha256: {base.tokenizer_sha256}\n---\n\n# {name}\n\n"
        f"A LoRA adapter of `{base.name}`, trained on a device.\n"
    )
