"""Tiny language models to merge: one base, LoRAs of unlike ranks, scales and layers, whole models with shards.

Knows how to build them, and how plain peft reads them; nothing of merging.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from xpert.testing.tiny import tiny_base


def tiny_lora(base: Path, folder: Path, seed: int, **settings: Any) -> Path:
    """A random LoRA, both sides not zero, saved by plain peft."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", **settings)
        )
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder, save_embedding_layers=False)
    return folder


def tiny_tuned(base: Path, folder: Path, seed: int, **how: Any) -> Path:
    """A model of the base with all weights moved, and the base's tokenizer."""
    shutil.copytree(base, folder)
    (folder / "model.safetensors").unlink()
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder, **how)
    return folder


def with_adapter(base: Path, adapter: Path) -> Any:
    """The base with an adapter on, by plain peft."""
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)


def lora_deltas(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """Layer -> what the adapter adds to its weight, as peft computes it."""
    layers = with_adapter(base, adapter).base_model.model.named_modules()
    return {n: layer.get_delta_weight("default").detach() for n, layer in layers if hasattr(layer, "get_delta_weight")}


def weighted_deltas(base: Path, parents: dict[str, tuple[Path, float]]) -> dict[str, torch.Tensor]:
    """Layer -> sum of the weighted deltas."""
    total: dict[str, torch.Tensor] = {}
    for folder, weight in parents.values():
        for layer, delta in lora_deltas(base, folder).items():
            total[layer] = total.get(layer, torch.zeros_like(delta)) + weight * delta
    return total


@dataclass(frozen=True)
class Family:
    """One base and its children; to be read only.

    Attributes:
        base: tied embeddings, one file.
        loras: plain; rsLoRA with patterns; an embedding table and one layer of its own.
        whole: one file; three or more shards.
    """

    base: Path
    loras: tuple[Path, Path, Path]
    whole: tuple[Path, Path]


def tiny_family(room: Path) -> Family:
    """Build all of them in a folder."""
    base = tiny_base(room / "base")
    patterns = {"rank_pattern": {"up_proj": 3}, "alpha_pattern": {"q_proj": 9}}
    loras = (
        tiny_lora(base, room / "plain", 1, r=4, target_modules=["q_proj", "v_proj"]),
        tiny_lora(
            base, room / "rs", 2, r=2, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "up_proj"], **patterns
        ),
        tiny_lora(base, room / "table", 3, r=3, target_modules=["embed_tokens", "model.layers.1.self_attn.o_proj"]),
    )
    whole = (
        tiny_tuned(base, room / "one", 4),
        tiny_tuned(base, room / "shards", 5, max_shard_size="20KB"),
    )
    return Family(base, loras, whole)
