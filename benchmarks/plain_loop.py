"""The loops that one would write with transformers and peft, without XPerT: what `explaining.py` compares with.

"Plain" is the loop of the libraries' own documentation, one prompt at a time; "batched" is what a user writes who knows
them well.

Knows transformers, peft and torch; of XPerT only the values that settings and samples are kept in.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from common import Clock
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader

from xpert.probing.text import ProbeSettings
from xpert.records import Sample
from xpert.tuning import TuningSettings


def plain_answers(model: Any, tokenizer: Any, prompts: Sequence[str], settings: ProbeSettings) -> list[str]:
    """One prompt after the other."""
    torch.manual_seed(settings.seed)
    texts = []
    for prompt in prompts:
        messages = [{"role": "user", "content": prompt}]
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        ).to(model.device)
        out = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=settings.max_new_tokens,
            do_sample=True,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=0,
        )
        texts.append(tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts


def batched_answers(
    model: Any, tokenizer: Any, prompts: Sequence[str], settings: ProbeSettings, batch_size: int = 64
) -> list[str]:
    """Prompts of like length together, padded on the left."""
    torch.manual_seed(settings.seed)
    texts = [""] * len(prompts)
    chats = [_chat(tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(chats)), key=lambda row: len(chats[row]))
    for begin in range(0, len(order), batch_size):
        rows = order[begin : begin + batch_size]
        inputs = _padded(tokenizer, [chats[row] for row in rows], model.device)
        out = model.generate(
            **inputs,
            max_new_tokens=settings.max_new_tokens,
            do_sample=True,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=0,
            pad_token_id=tokenizer.pad_token_id,
        )
        made = out[:, inputs["input_ids"].shape[1] :]
        for row, text in zip(rows, tokenizer.batch_decode(made, skip_special_tokens=True), strict=True):
            texts[row] = text
    return texts


@torch.inference_mode()
def batched_embeddings(model: Any, tokenizer: Any, questions: Sequence[str], batch_size: int = 8) -> np.ndarray:
    """Questions of like length together, padded on the left; the body alone, since no token is chosen; (n, d)."""
    chats = [_chat(tokenizer, question) for question in questions]
    order = sorted(range(len(chats)), key=lambda row: len(chats[row]))
    rows: dict[int, np.ndarray] = {}
    for begin in range(0, len(order), batch_size):
        group = order[begin : begin + batch_size]
        inputs = _padded(tokenizer, [chats[row] for row in group], model.device)
        states = model.base_model(**inputs, use_cache=False).last_hidden_state[:, -1].float().cpu().numpy()
        rows |= dict(zip(group, states, strict=True))
    return np.stack([rows[row] for row in range(len(questions))])


def _chat(tokenizer: Any, prompt: str) -> str:
    messages = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def _padded(tokenizer: Any, chats: Sequence[str], device: torch.device) -> Any:
    return tokenizer(list(chats), add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt").to(
        device
    )


@torch.no_grad()
def plain_embeddings(model: Any, tokenizer: Any, questions: Sequence[str]) -> np.ndarray:
    """One forward pass a question, the last hidden state of its last token; shape (n, d)."""
    rows = []
    for question in questions:
        messages = [{"role": "user", "content": question}]
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        ).to(model.device)
        out = model(**inputs, output_hidden_states=True)
        rows.append(out.hidden_states[-1][0, -1].float().cpu().numpy())
    return np.stack(rows)


def plain_rows(tokenizer: Any, samples: Sequence[Sample], max_length: int) -> list[tuple[list[int], list[int]]]:
    """Token ids and labels of each sample; the prompt is not learned."""
    rows = []
    for sample in samples:
        messages = [{"role": "user", "content": sample.prompt}]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        response = tokenizer(sample.response + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        rows.append(((prompt + response)[:max_length], ([-100] * len(prompt) + response)[:max_length]))
    return rows


def plain_batch(rows: Sequence[tuple[list[int], list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Padded on the right to the longest of the batch."""
    width = max(len(ids) for ids, _ in rows)
    return {
        "input_ids": torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows]),
        "labels": torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows]),
    }


def plain_tuning(
    model: Any, rows: Sequence[Any], pad: int, settings: TuningSettings, epochs: int, clock: Clock
) -> list[float]:
    """The usual loop over a model that was just loaded; the loss of each step. Only the loop is timed."""
    torch.manual_seed(settings.seed)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config)
    model.train()
    loader = DataLoader(
        list(rows), batch_size=settings.batch_size, shuffle=True, collate_fn=partial(plain_batch, pad=pad)
    )
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    losses = []
    with clock:
        for _ in range(epochs):
            for batch in loader:
                loss = model(**{name: tensor.to(model.device) for name, tensor in batch.items()}).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(learned, settings.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
                losses.append(loss.item())
    return losses
