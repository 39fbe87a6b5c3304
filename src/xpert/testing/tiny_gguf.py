"""A tiny Llama as a GGUF file, written by the package `gguf` as llama.cpp's converters write larger ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpert.testing.tiny import CHAT_TEMPLATE, tiny_tokenizer

_HEADS, _LAYERS, _WIDTH, _INNER = 4, 2, 32, 64
_NAMES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def tiny_gguf(
    file: Path,
    *,
    seed: int = 0,
    architecture: str = "llama",
    kind: str = "Q8_0",
    settings: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Write one with random weights; returns the file.

    Args:
        file: to write.
        seed: of the weights.
        architecture: what the file says that it is.
        kind: Q8_0, F16 or F32, of the matrices.
        settings: further settings, or other values of them; whole numbers, texts and floats.
        more: further tensors.
    """
    import gguf

    tokenizer = tiny_tokenizer(extra=("Ġt",))  # the one merge makes it
    tokens = [text for text, _ in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])]
    writer = gguf.GGUFWriter(str(file), architecture)
    stated: dict[str, Any] = {
        f"{architecture}.block_count": _LAYERS,
        f"{architecture}.context_length": 512,
        f"{architecture}.embedding_length": _WIDTH,
        f"{architecture}.feed_forward_length": _INNER,
        f"{architecture}.attention.head_count": _HEADS,
        f"{architecture}.attention.head_count_kv": _HEADS,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{architecture}.rope.freq_base": 10000.0,
        f"{architecture}.vocab_size": len(tokens),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.bos_token_id": tokenizer.bos_token_id,
        "tokenizer.ggml.eos_token_id": tokenizer.eos_token_id,
        "tokenizer.chat_template": CHAT_TEMPLATE,
        **(settings or {}),
    }
    for key, value in stated.items():
        add: Any = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)]
        add(key, value)
    special = set(tokenizer.all_special_tokens)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges(["Ġ t"])
    for name, weights in {**_weights(seed, len(tokens)), **(more or {})}.items():
        if weights.ndim < 2 or kind == "F32":
            writer.add_tensor(name, weights)
        elif kind == "F16":
            writer.add_tensor(name, weights.astype(np.float16))
        else:
            packed = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quants.quantize(weights, packed), raw_dtype=packed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _weights(seed: int, words: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    found = {"token_embd.weight": draw.normal(0, 0.1, (words, _WIDTH)), "output_norm.weight": np.ones(_WIDTH)}
    for block in range(_LAYERS):
        for name in _NAMES:
            inner, outer = (_WIDTH, _INNER) if name in ("ffn_gate", "ffn_up") else (_WIDTH, _WIDTH)
            shape = (_WIDTH, _INNER) if name == "ffn_down" else (outer, inner)
            found[f"blk.{block}.{name}.weight"] = draw.normal(0, 0.1, shape)
        for name in ("attn_norm", "ffn_norm"):
            found[f"blk.{block}.{name}.weight"] = np.ones(_WIDTH)
    return {name: weights.astype(np.float32) for name, weights in found.items()}
