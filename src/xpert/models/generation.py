"""Answers of a loaded model: batched, with key-value cache, reproducible by seed.

Knows nothing of what the answers are for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedTokenizerBase

from xpert.models.loading import LoadedModel, render_chat

Progress = Callable[[str, int, int], None]
CUT = " ..."
_PROMPT_TOKENS = 1024
"""Longer prompts lose their start: their end is what asks for the answer."""

_SEGMENT_TOKENS = 24
"""Answers that have ended leave the batch after so many tokens; before, they are computed in vain."""


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer must add its own special tokens: only where no chat template wrote them."""
    return tokenizer.chat_template is None


def _end_ids(loaded: LoadedModel) -> list[int]:
    configured = loaded.model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({i for i in [*ids, loaded.tokenizer.eos_token_id] if i is not None})


def _configuration(loaded: LoadedModel, max_new_tokens: int, temperature: float, top_p: float) -> GenerationConfig:
    make: Any = GenerationConfig
    settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "do_sample": temperature > 0, "use_cache": True}
    if temperature > 0:
        settings |= {"temperature": temperature, "top_p": top_p, "top_k": 0}
    ends = _end_ids(loaded)
    configuration: GenerationConfig = make(
        **settings, eos_token_id=ends or None, pad_token_id=loaded.tokenizer.pad_token_id
    )
    return configuration


def generate(
    loaded: LoadedModel,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 192,
    seed: int = 0,
    temperature: float = 0.8,
    top_p: float = 0.95,
    batch_size: int = 64,
    system: str | None = None,
    on_progress: Progress | None = None,
) -> list[str]:
    """Answer every prompt once.

    Args:
        loaded: the model; an adapter that is on takes part.
        prompts: what is asked, n texts.
        max_new_tokens: an answer that has not ended by then is cut, and ends in " ...".
        seed: of the sampling; the same seed, prompts and batch size give the same answers. The caller's
            random state is left as it was.
        temperature: 0 takes the most probable token.
        top_p: nucleus of the sampling.
        batch_size: answers made at once.
        system: a system turn for all.
        on_progress: called with ("answering", done, n).

    Returns:
        n texts, in the order of the prompts.
    """
    tokenizer, texts = loaded.tokenizer, [""] * len(prompts)
    chats = [render_chat(tokenizer, prompt, system) for prompt in prompts]
    configuration = _configuration(loaded, max_new_tokens, temperature, top_p)
    order = sorted(range(len(chats)), key=lambda i: (len(chats[i]), i))
    devices = [loaded.device] if loaded.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode():
        torch.manual_seed(seed)
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size]
            for row, text in zip(rows, _answer(loaded, [chats[i] for i in rows], configuration), strict=True):
                texts[row] = text
            if on_progress is not None:
                on_progress("answering", begin + len(rows), len(order))
    return texts


def _answer(loaded: LoadedModel, chats: list[str], configuration: GenerationConfig) -> list[str]:
    tokenizer = loaded.tokenizer
    encoded = tokenizer(chats, add_special_tokens=special_tokens(tokenizer))["input_ids"]
    limit = _room(loaded, configuration.max_new_tokens or 0)
    inputs, mask = pad_left([_keep_end(ids, limit, tokenizer.bos_token_id) for ids in encoded], loaded)
    ends = set(_end_ids(loaded))
    return [
        _text(tokenizer, ids) + ("" if any(token in ends for token in ids) else CUT)
        for ids in _continue(loaded, inputs, mask, configuration, ends)
    ]


def _continue(
    loaded: LoadedModel, inputs: torch.Tensor, mask: torch.Tensor, configuration: GenerationConfig, ends: set[int]
) -> list[list[int]]:
    """New tokens of each row; rows that have ended leave the batch between segments.

    Only a growing cache can lose rows; a model that keeps another kind answers in one go.
    """
    state = torch.random.get_rng_state()
    try:
        return _segments(loaded, inputs, mask, configuration, ends)
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        torch.random.set_rng_state(state)
    out = loaded.model.generate(input_ids=inputs, attention_mask=mask, generation_config=configuration)
    whole: list[list[int]] = out[:, inputs.shape[1] :].tolist()
    return whole


def _segments(
    loaded: LoadedModel, inputs: torch.Tensor, mask: torch.Tensor, configuration: GenerationConfig, ends: set[int]
) -> list[list[int]]:
    most, width = configuration.max_new_tokens or 0, inputs.shape[1]
    rows = list(range(len(inputs)))
    found: list[list[int]] = [[] for _ in rows]
    cache: Any = DynamicCache(config=loaded.model.config)
    segment = copy(configuration)
    while rows and (left := most - (inputs.shape[1] - width)) > 0:
        segment.max_new_tokens = min(_SEGMENT_TOKENS, left)
        made = loaded.model.generate(
            input_ids=inputs, attention_mask=mask, past_key_values=cache, generation_config=segment
        )
        alive = []
        for place, ids in enumerate(made[:, width:].tolist()):
            found[rows[place]] = ids
            if not ends.intersection(ids):
                alive.append(place)
        keep = torch.tensor(alive, device=made.device, dtype=torch.long)
        if 0 < len(alive) < len(rows):
            cache.batch_select_indices(keep)
        mask = torch.cat([mask, mask.new_ones(len(mask), made.shape[1] - inputs.shape[1])], 1)[keep]
        inputs, rows = made[keep], [rows[place] for place in alive]
    return found


def _room(loaded: LoadedModel, max_new_tokens: int) -> int:
    """Prompt tokens that leave room for the answer."""
    positions = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return _PROMPT_TOKENS
    return max(1, min(_PROMPT_TOKENS, positions - max_new_tokens))


def _keep_end(ids: list[int], limit: int, bos: int | None) -> list[int]:
    if len(ids) <= limit:
        return ids
    head = ids[:1] if ids[0] == bos else []
    return head + ids[len(ids) - limit + len(head) :]


def pad_left(rows: Sequence[Sequence[int]], loaded: LoadedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, each (rows, longest row), padded on the left."""
    width, pad = max(map(len, rows)), loaded.tokenizer.pad_token_id or 0
    ids = torch.tensor([[pad] * (width - len(row)) + [*row] for row in rows], device=loaded.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=loaded.device)
    return ids, mask


def cut(tokenizer: PreTrainedTokenizerBase, text: str, max_tokens: int) -> str:
    """A person's text as long as an answer may be: longer ones are cut and end in " ..." alike."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return text if len(ids) <= max_tokens else _text(tokenizer, ids[:max_tokens]) + CUT


def _text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
