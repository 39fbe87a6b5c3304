"""Answers of a loaded model: batched where that is right, reproducible by seed.

Knows nothing of what the answers are for. Every setting is chosen here: what a base's generation_config.json says of
them never counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from xpert.models.chats import chat_template, render_chats
from xpert.models.decoding import written
from xpert.models.loading import LoadedModel
from xpert.models.sampling import NucleusSampling, OnlyNumbers
from xpert.models.thoughts import answer_text
from xpert.models.ways import How, fresh_configuration, positions

Progress = Callable[[str, int, int], None]
CUT = " ..."
_PROMPT_TOKENS = 1024
"""Longer prompts lose their start: their end is what asks for the answer."""


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer must add its own special tokens: only where no chat template wrote them."""
    return chat_template(tokenizer) is None


def _end_ids(loaded: LoadedModel) -> list[int]:
    configured = loaded.model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({i for i in [*ids, loaded.tokenizer.eos_token_id] if i is not None})


def _sampler(temperature: float, top_p: float) -> tuple[dict[str, Any], list[LogitsProcessor]]:
    """The one place that says how a token is drawn: settings of `generate`, and what is done to the logits besides."""
    if temperature <= 0:
        return {}, []
    # The library's own warpers stay out at these values: they would sort the whole vocabulary.
    untouched = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    return untouched, [NucleusSampling(temperature, top_p)]


def _how(loaded: LoadedModel, max_new_tokens: int, temperature: float = 0, top_p: float = 1) -> How:
    chosen, processors = _sampler(temperature, top_p)
    sound = LogitsProcessorList([OnlyNumbers(str(loaded.folder)), *processors])
    return How(fresh_configuration(loaded, max_new_tokens, ends=_end_ids(loaded), **chosen), sound)


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
        n texts, in the order of the prompts, without what the model thought before it answered.
    """
    texts = [""] * len(prompts)
    chats = render_chats(loaded.tokenizer, prompts, system)
    how = _how(loaded, max_new_tokens, temperature, top_p)
    order = sorted(range(len(chats)), key=lambda i: (len(chats[i]), i))
    devices = [loaded.device] if loaded.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode():
        torch.manual_seed(seed)
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size]
            for row, text in zip(rows, _answer(loaded, [chats[i] for i in rows], how), strict=True):
                texts[row] = text
            if on_progress is not None:
                on_progress("answering", begin + len(rows), len(order))
    return texts


def continued(loaded: LoadedModel, rows: Sequence[Sequence[int]], max_new_tokens: int) -> list[list[int]]:
    """The most probable new tokens behind each row of tokens."""
    with torch.inference_mode():
        return written(loaded, rows, _how(loaded, max_new_tokens))


def _answer(loaded: LoadedModel, chats: list[str], how: How) -> list[str]:
    tokenizer = loaded.tokenizer
    encoded = tokenizer(chats, add_special_tokens=special_tokens(tokenizer))["input_ids"]
    limit = _room(loaded, how.most)
    rows = [_keep_end(ids, limit, tokenizer.bos_token_id) or _first(tokenizer) for ids in encoded]
    return [_text(tokenizer, ids) + ("" if how.ends.intersection(ids) else CUT) for ids in written(loaded, rows, how)]


def _first(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What stands where a text would be empty."""
    return [next((i for i in (tokenizer.bos_token_id, tokenizer.eos_token_id) if i is not None), 0)]


def _room(loaded: LoadedModel, max_new_tokens: int) -> int:
    """Prompt tokens that leave room for the answer."""
    most = positions(loaded)
    return _PROMPT_TOKENS if most is None else max(1, min(_PROMPT_TOKENS, most - max_new_tokens))


def _keep_end(ids: list[int], limit: int, bos: int | None) -> list[int]:
    if len(ids) <= limit:
        return ids
    head = ids[:1] if ids[0] == bos else []
    return head + ids[len(ids) - limit + len(head) :]


def cut(tokenizer: PreTrainedTokenizerBase, text: str, max_tokens: int) -> str:
    """A person's text as long as an answer may be: longer ones are cut and end in " ..." alike."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return text if len(ids) <= max_tokens else _decoded(tokenizer, ids[:max_tokens]).strip() + CUT


def _text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """An answer, without special tokens and thoughts."""
    return answer_text(
        ids,
        frozenset(tokenizer.all_special_ids),
        lambda token: str(tokenizer.convert_ids_to_tokens(token)),
        lambda some: _decoded(tokenizer, some),
    )


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True))
