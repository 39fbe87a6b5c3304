"""Tiny random bases of every family that can be exported, twelve blocks deep: block 10 comes before 2 in sorted names.

Knows how to build only; the weights are random, so the models speak no language.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from xpert.testing.tiny import tiny_tokenizer

_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
}
_SCALED = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0,
           "high_freq_factor": 4.0, "original_max_position_embeddings": 32}  # fmt: skip
FAMILIES: dict[str, Callable[..., Any]] = {
    "llama": lambda **kw: LlamaConfig(**_SIZES, rope_parameters=_SCALED, tie_word_embeddings=False, **kw),
    "smollm": lambda **kw: LlamaConfig(
        **{**_SIZES, "hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 1},
        tie_word_embeddings=True,
        **kw,
    ),
    "mistral": lambda **kw: MistralConfig(**_SIZES, sliding_window=None, tie_word_embeddings=False, **kw),
    "qwen2": lambda **kw: Qwen2Config(**_SIZES, tie_word_embeddings=True, **kw),
    "qwen3": lambda **kw: Qwen3Config(**_SIZES, head_dim=16, tie_word_embeddings=True, **kw),
}


def tiny_base_of(folder: Path, family: str) -> Path:
    """Save a random base of a family, its biases and norms random too, as a plain folder; returns the folder."""
    tokenizer = tiny_tokenizer()
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config = FAMILIES[family](vocab_size=len(tokenizer), initializer_range=0.08, **special)
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
            elif "norm" in name:
                torch.nn.init.normal_(parameter, mean=1.0, std=0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
