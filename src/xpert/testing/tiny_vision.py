"""A tiny random Qwen2.5-VL, built in a moment and saved as the hub lays such a model out.

Knows only how to build. The weights are random, but the output layer speaks nothing except a few style words, so the
answers look like answers, and other pictures give other ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

STYLE_WORDS = ("vibrant", "moody", "pastel", "painterly", "geometric", "monochrome", "grainy", "dreamlike")
_WIDTH = 32
_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_vision_model(folder: Path, *, seed: int = 0) -> Path:
    """Save a random Qwen2.5-VL with its tokenizer and image processor; returns the folder."""
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

    tokenizer = _tokenizer()
    build: Any = Qwen2_5_VLForConditionalGeneration
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(_config(tokenizer))
    spoken = tokenizer.convert_tokens_to_ids([f"{word}, " for word in STYLE_WORDS])
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        kept = head[spoken].clone()
        head.zero_()
        head[spoken] = kept
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor: Any = Qwen2VLImageProcessorPil
    processor(size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112}).save_pretrained(folder)
    # The hub's folders name their processor; without torchvision it cannot be built here to write that itself.
    settings = folder / "preprocessor_config.json"
    named = {**json.loads(settings.read_text("utf-8")), "processor_class": "Qwen2_5_VLProcessor"}
    settings.write_text(json.dumps(named, indent=2) + "\n", encoding="utf-8")
    return folder


def _tokenizer() -> Any:
    """A byte-level tokenizer without merges; a style word with its comma is one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*_SPECIAL, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    make: Any = PreTrainedTokenizerFast
    fast = make(tokenizer_object=tokenizer, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    fast.add_special_tokens({"additional_special_tokens": list(_SPECIAL)})
    fast.add_tokens([f"{word}, " for word in STYLE_WORDS])
    fast.chat_template = _CHAT_TEMPLATE
    return fast


def _config(tokenizer: Any) -> Any:
    from transformers import Qwen2_5_VLConfig

    number = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": _WIDTH,
        "intermediate_size": 2 * _WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6},
        "bos_token_id": number("<|endoftext|>"),
        "eos_token_id": number("<|im_end|>"),
        "pad_token_id": number("<|endoftext|>"),
    }
    vision = {
        "depth": 2,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": _WIDTH,
        "fullatt_block_indexes": [1],
        "window_size": 56,
        "initializer_range": 0.3,
    }
    make: Any = Qwen2_5_VLConfig
    return make(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=False,
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )
