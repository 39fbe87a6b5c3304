"""Tiny random bases whose memory of a text is no plain growing cache: states, convolutions, windows, mixtures.

Knows how to build only; the weights are random, so the models speak no language.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from xpert.testing.tiny import tiny_tokenizer

_ATTENTION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
_SSM: dict[str, Any] = {"mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 2}
_HEADS: dict[str, Any] = {**_SSM, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_chunk_size": 16}
STATES: dict[str, dict[str, Any]] = {
    "mamba": {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "time_step_rank": 4},
    "mamba2": {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "num_heads": 8, "head_dim": 8,
               "n_groups": 1, "chunk_size": 16, "expand": 2},
    "falcon_mamba": {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "time_step_rank": 4},
    "jamba": {**_ATTENTION, **_SSM, "num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1,
              "num_experts": 2, "expert_layer_period": 2, "expert_layer_offset": 1, "mamba_dt_rank": 4,
              "use_mamba_kernels": False},
    "bamba": {**_ATTENTION, **_HEADS, "attn_layer_indices": [1]},
    "falcon_h1": {**_ATTENTION, **_HEADS, "mamba_d_ssm": 64},
    "recurrent_gemma": {"hidden_size": 32, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
                        "num_key_value_heads": 1, "lru_width": 32, "attention_window_size": 8, "head_dim": 8},
    "lfm2": {**_ATTENTION, "num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"],
             "block_auto_adjust_ff_dim": False},
    "rwkv": {"hidden_size": 32, "num_hidden_layers": 2, "context_length": 512, "attention_hidden_size": 32},
    "granitemoehybrid": {**_ATTENTION, **_HEADS, "layer_types": ["mamba", "attention"], "num_local_experts": 2,
                         "num_experts_per_tok": 1, "shared_intermediate_size": 32},
    "minimax": {**_ATTENTION, "head_dim": 8, "num_local_experts": 2, "block_size": 8,
                "layer_types": ["linear_attention", "full_attention"]},
    "llama4_text": {**_ATTENTION, "head_dim": 8, "num_local_experts": 2, "attention_chunk_size": 16,
                    "intermediate_size_mlp": 48, "num_hidden_layers": 4},
    "mistral": {**_ATTENTION, "sliding_window": 8},
    "gemma2": {**_ATTENTION, "head_dim": 8, "sliding_window": 8},
    "gemma3_text": {**_ATTENTION, "head_dim": 8, "sliding_window": 8, "num_hidden_layers": 3,
                    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
}  # fmt: skip


def tiny_state_base(folder: Path, family: str) -> Path:
    """Save a random base of a family, lively enough that a lost state changes its words; returns the folder."""
    tokenizer = tiny_tokenizer()
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        config = AutoConfig.for_model(family, vocab_size=len(tokenizer), **special, **STATES[family])
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        table = model.get_input_embeddings().weight
        for parameter in model.parameters():
            if parameter.ndim >= 2 and parameter is not table:
                parameter.data.mul_(8)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
