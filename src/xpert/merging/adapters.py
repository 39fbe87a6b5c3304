"""LoRA adapters of one language model become one plain peft adapter; knows files, and no model in memory.

By task arithmetic the result is exact: the ranks add up. Everything is checked before anything is written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from xpert.merging.cards import Merged, merged_card
from xpert.merging.lora import Lora, LoraParent, merge_loras
from xpert.merging.methods import Recipe
from xpert.merging.parents import check_distinct, check_rank, check_sum, check_weights
from xpert.merging.stored import read_layers
from xpert.models.adapters import (
    ADAPTER_FILES,
    WEIGHTS,
    AdapterFacts,
    BaseLayer,
    adapter_key,
    base_layers,
    check_fit,
    inspect_adapter,
)
from xpert.models.cards import write_card
from xpert.models.folders import check_free, whole_folder
from xpert.models.generation import Progress
from xpert.models.known_bases import remember_base
from xpert.models.lora_settings import named
from xpert.models.reference import ModelReference, folder_digest, model_digest, shared_name, tokenizer_digest


def merge_adapters(
    parents: Mapping[str, tuple[Path, float]],
    base_folder: Path,
    out: Path,
    *,
    method: str = "task-arithmetic",
    density: float = 1.0,
    mean: bool = False,
    rank: int | None = None,
    seed: int = 0,
    base_name: str | None = None,
    on_progress: Progress | None = None,
) -> Merged:
    """Write the merged difference of LoRA adapters as one LoRA adapter of the base.

    Args:
        parents: name -> adapter folder and weight a_i.
        base_folder: model that all of them belong to.
        out: folder to write; must be free.
        method: name in `merging.methods.METHODS`.
        density: share of each difference that is kept, where the method has one.
        mean: the mean over the models that agree, where the method elects signs.
        rank: largest rank of the result; None: the sum of the parents' ranks.
        seed: of what is dropped at random.
        base_name: how people call the base; None: it is a folder, and its last part is told, since paths name their
            owners.
        on_progress: called with ("merging", done, total) where a layer takes time.

    Raises:
        SettingsError: no parents or one twice, a number out of range, or `out` is taken.
        MissingModelError, DamagedModelError, MismatchError: a parent cannot be read or belongs to another base.
        ModelError: a sum is not finite.
        StorageError: the disk refused; nothing is left.
    """
    recipe, weights = Recipe(method, density, mean, seed), check_weights(parents)
    check_rank(rank)
    check_free(out)
    facts = {name: inspect_adapter(folder) for name, (folder, _) in parents.items()}
    for fact in facts.values():
        check_fit(fact, base_folder)
    digests = {name: fact.digest for name, fact in facts.items()}
    check_distinct(digests)
    given = [LoraParent(digests[name], read_lora(fact), weights[name]) for name, fact in facts.items()]
    lora, error = merge_loras(given, recipe, rank, on_progress)
    layers = base_layers(base_folder)
    tensors = _named_tensors(lora, layers)
    for name, tensor in tensors.items():
        check_sum(name, tensor, facts)
    chosen = next(iter(lora.layers.values()))[0].shape[0]
    merged = Merged(out, "lora", chosen, weights, digests, recipe, error)
    called = base_name or shared_name(base_folder)
    stated = {"base_sha256": model_digest(base_folder), "tokenizer_sha256": tokenizer_digest(base_folder)}
    with whole_folder(out) as fresh:
        save_file(tensors, fresh / WEIGHTS, {"format": "pt"})
        _write_config(fresh, chosen, lora.layers, layers, called)
        write_card(fresh, merged_card(merged, called, stated), folder_digest(fresh, ADAPTER_FILES))
    remember_base(ModelReference(str(base_folder)), stated["base_sha256"])
    return merged


def read_lora(facts: AdapterFacts) -> Lora:
    """The matrices of an inspected adapter in fp32, each layer's scale within its B.

    Raises:
        MissingModelError, DamagedModelError: it changed since then, and cannot be read any more.
    """
    layers = read_layers(facts.folder / WEIGHTS, adapter_key).items()
    return Lora({layer: (a.float(), b.float() * facts.settings.scale_of(layer)) for layer, (a, b) in layers})


def _named_tensors(lora: Lora, layers: Mapping[str, BaseLayer]) -> dict[str, torch.Tensor]:
    """Names as peft writes them; an embedding table's differ."""
    tensors = {}
    for layer, (a, b) in lora.layers.items():
        form = "lora_embedding_{}" if layers[layer].table else "lora_{}.weight"
        for side, matrix in (("A", a), ("B", b)):
            tensors[f"base_model.model.{layer}.{form.format(side)}"] = matrix.contiguous()
    return tensors


def _write_config(
    folder: Path, rank: int, adapted: Collection[str], layers: Mapping[str, BaseLayer], base_name: str
) -> None:
    """adapter_config.json of a LoRA of scale 1."""
    from peft import LoraConfig

    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        fan_in_fan_out=any(layers[name].transposed and not layers[name].table for name in adapted),
        task_type="CAUSAL_LM",
        inference_mode=True,
        base_model_name_or_path=base_name,
    )
    config.target_modules = targets(adapted, layers)
    config.save_pretrained(str(folder))


def targets(adapted: Collection[str], layers: Collection[str]) -> list[str]:
    """The shortest sorted names that choose just these layers of a base: their last parts where those are enough."""
    chosen = set()
    for layer in adapted:
        last = layer.rsplit(".", 1)[-1]
        whole = all(other in adapted for other in layers if named(other, (last,)))
        chosen.add(last if whole else layer)
    return sorted(chosen)
