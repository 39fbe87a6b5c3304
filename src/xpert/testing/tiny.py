"""Tiny real models, built in a moment and saved as plain Hugging Face folders.

Knows only how to build; the weights are random, so the models speak no language.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SPECIAL = ["<|pad|>", "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def tiny_tokenizer(*, chat: bool = True, extra: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges; `extra` words become single tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*_SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    make: Any = PreTrainedTokenizerFast
    fast: PreTrainedTokenizerFast = make(
        tokenizer_object=tokenizer, pad_token="<|pad|>", bos_token="<|bos|>", eos_token="<|end|>"
    )
    fast.add_special_tokens({"additional_special_tokens": _SPECIAL[3:]})
    if extra:
        fast.add_tokens(list(extra))
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    return fast


def tiny_base(
    folder: Path,
    *,
    seed: int = 0,
    width: int = 32,
    layers: int = 2,
    chat: bool = True,
    extra: tuple[str, ...] = (),
) -> Path:
    """Save a random Llama with its tokenizer as a plain `from_pretrained` folder; returns the folder."""
    tokenizer = tiny_tokenizer(chat=chat, extra=extra)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=width,
                intermediate_size=2 * width,
                num_hidden_layers=layers,
                num_attention_heads=4,
                max_position_embeddings=1024,
                tie_word_embeddings=True,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_adapter(
    base: Path,
    folder: Path,
    *,
    seed: int = 0,
    rank: int = 4,
    targets: tuple[str, ...] = ("q_proj", "v_proj"),
    scale: float = 0.5,
) -> Path:
    """Save a random LoRA adapter (B not zero) of `base` as a plain peft folder; returns the folder."""
    model = LlamaForCausalLM.from_pretrained(base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = get_peft_model(
            model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(targets), task_type="CAUSAL_LM")
        )
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=scale)
    adapted.save_pretrained(folder)
    return folder
