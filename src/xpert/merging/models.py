"""Whole language models of one base become one, tensor by tensor: theta_0 plus the merged difference.

Of every model one tensor is in memory. LoRA adapters may be among the parents. Everything that does not take the sums
themselves is checked before anything is written; where a sum fails, nothing is left.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from xpert.errors import DamagedModelError, MismatchError
from xpert.merging.adapters import read_lora
from xpert.merging.cards import Merged, merged_card
from xpert.merging.lora import Lora
from xpert.merging.methods import Recipe
from xpert.merging.parents import check_distinct, check_weights
from xpert.merging.stored import Stored, open_stored
from xpert.merging.streaming import write_shards
from xpert.merging.sums import SumParent, summed
from xpert.models.adapters import BaseLayer, base_layers, check_fit, inspect_adapter
from xpert.models.cards import write_card
from xpert.models.folders import check_free, whole_folder
from xpert.models.generation import Progress
from xpert.models.headers import strict_json
from xpert.models.known_bases import remember_base
from xpert.models.reference import TOKENIZER_FILES, ModelReference, model_digest, shared_name, tokenizer_digest
from xpert.models.whole_models import MODEL_CONFIG, check_whole_fit, inspect_whole_model, is_whole_model

SHARD_BYTES = 5 * 10**9
"""Most bytes of one file of weights."""

_COPIED = (
    *TOKENIZER_FILES, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "spiece.model",
    "generation_config.json", "chat_template.jinja", "chat_template.json", "additional_chat_templates",
)  # fmt: skip


def merge_whole_models(
    parents: Mapping[str, tuple[Path, float]],
    base_folder: Path,
    out: Path,
    *,
    method: str = "task-arithmetic",
    density: float = 1.0,
    mean: bool = False,
    seed: int = 0,
    shard_bytes: int = SHARD_BYTES,
    base_name: str | None = None,
    on_progress: Progress | None = None,
) -> Merged:
    """Write theta_0 plus the merged difference as a whole model, in the base's dtypes, with the base's tokenizer.

    Args:
        parents: name -> folder of a whole model or of a LoRA adapter, and weight a_i.
        base_folder: model that all of them belong to.
        out: folder to write; must be free.
        method, density, mean, seed: as `merge_adapters`; a LoRA's difference is s B A.
        shard_bytes: most bytes of one file of weights.
        base_name: how people call the base.
        on_progress: called with ("merging", done, total) after every tensor.

    Raises:
        SettingsError: no parents or one twice, a number out of range, or `out` is taken.
        MissingModelError, DamagedModelError, MismatchError: a parent cannot be read or belongs to another base.
        ModelError: a sum is not finite in the base's dtype.
        StorageError: the disk refused; nothing is left.
    """
    recipe, weights = Recipe(method, density, mean, seed), check_weights(parents)
    check_free(out)
    base = inspect_whole_model(base_folder)
    layers = base_layers(base_folder)
    origin = _without_copies(open_stored(base.weights), layers, base_folder)
    opened = {name: _open_parent(name, folder, base_folder, origin, layers) for name, (folder, _) in parents.items()}
    digests = {name: digest for name, (digest, _) in opened.items()}
    check_distinct(digests)
    transposed = frozenset(name for name, layer in layers.items() if layer.transposed)
    sources = [SumParent(name, digest, weights[name], source, transposed) for name, (digest, source) in opened.items()]
    merged = Merged(out, "model", 0, weights, digests, recipe)
    called = base_name or shared_name(base_folder)
    stated = {"base_sha256": base.digest, "tokenizer_sha256": tokenizer_digest(base_folder)}
    with whole_folder(out) as fresh:
        write_shards(fresh, "model", origin.shapes, summed(origin, sources, recipe), shard_bytes, on_progress)
        _copy_settings(base_folder, fresh)
        write_card(fresh, merged_card(merged, called, stated), model_digest(fresh))
    remember_base(ModelReference(str(base_folder)), base.digest)
    return merged


def _open_parent(
    name: str, folder: Path, base_folder: Path, origin: Stored, layers: Mapping[str, BaseLayer]
) -> tuple[str, Stored | Lora]:
    """Digest and content of a parent that was found to fit the base."""
    if not is_whole_model(folder):
        adapter = inspect_adapter(folder)
        check_fit(adapter, base_folder)
        lora = read_lora(adapter)
        _check_lora(name, lora, origin, layers)
        return adapter.digest, lora
    facts = inspect_whole_model(folder)
    check_whole_fit(facts, base_folder)
    stored = _without_copies(open_stored(facts.weights), layers, folder)
    _check_tensors(folder, stored, base_folder, origin)
    return facts.digest, stored


def _check_lora(name: str, lora: Lora, origin: Stored, layers: Mapping[str, BaseLayer]) -> None:
    """Every adapted layer has a weight of its own in the base's files, of the shape of B A."""
    for layer in lora.layers:
        a, b = lora.layers[layer]
        shape = (a.shape[1], b.shape[0]) if layers[layer].transposed else (b.shape[0], a.shape[1])
        if layers[layer].tied:
            raise MismatchError(
                f"adapter {name!r} changes {layer!r}, whose weight is another layer's as well in this base: the sum "
                "would change both; merge LoRA adapters alone, or tune without this layer"
            )
        if origin.shapes.get(f"{layer}.weight", ((), None))[0] != shape:
            raise MismatchError(
                f"adapter {name!r} changes {layer!r}, but the base's files have no {layer}.weight of shape {shape}: "
                "save the base again with `save_pretrained`, or merge LoRA adapters alone"
            )


def _check_tensors(folder: Path, stored: Stored, base_folder: Path, origin: Stored) -> None:
    own, wanted = ({n: shape for n, (shape, _) in some.shapes.items()} for some in (stored, origin))
    faults = [f"it lacks {name!r}" for name in sorted(wanted.keys() - own.keys())]
    faults += [f"it has {name!r}, which the base does not have" for name in sorted(own.keys() - wanted.keys())]
    for name in sorted(own.keys() & wanted.keys()):
        if own[name] != wanted[name]:
            faults.append(f"{name!r} has shape {own[name]}, the base has {wanted[name]}")
    if faults:
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        raise MismatchError(
            f"model {folder} does not fit base {base_folder}: {'; '.join(faults[:3])}{more}: give models that were "
            "tuned from one base"
        )


def _without_copies(stored: Stored, layers: Mapping[str, BaseLayer], folder: Path) -> Stored:
    """A model's tensors without the second copy of a tied weight, which some programs save.

    Raises:
        DamagedModelError: the two differ, so that they are not tied.
    """
    tied = [name for name, layer in layers.items() if layer.tied and f"{name}.weight" in stored.places]
    table = next((name for name in tied if layers[name].table), None)
    copies = [f"{name}.weight" for name in tied if table is not None and not layers[name].table]
    for copy in copies:
        first = stored.read(f"{table}.weight")
        if not torch.equal(first, stored.read(copy)):
            raise DamagedModelError(
                f"{folder} says that {copy!r} and '{table}.weight' are one (tie_word_embeddings), but they differ: "
                "save it with tie_word_embeddings false, and the base as well"
            )
    return Stored({name: place for name, place in stored.places.items() if name not in copies})


def _copy_settings(base: Path, folder: Path) -> None:
    """Configuration, tokenizer and chat template of the base; no path that names an owner."""
    config = strict_json((base / MODEL_CONFIG).read_bytes(), str(base / MODEL_CONFIG))
    config.pop("_name_or_path", None)
    (folder / MODEL_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for name in _COPIED:
        if (base / name).is_dir():
            shutil.copytree(base / name, folder / name)
        elif (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
