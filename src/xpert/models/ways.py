"""Ways of writing tokens behind prompts; which of them a model can be asked by, `decoding` finds out.

Knows models in memory and token ids; nothing of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, LogitsProcessorList
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from xpert.models.loading import LoadedModel

Rows = Sequence[Sequence[int]]
Way = Callable[[LoadedModel, Rows, "How"], list[list[int]]]

_SEGMENT_TOKENS = 24
"""Answers that have ended leave the batch after so many tokens; before, they are computed in vain."""

FAILS = (AttributeError, AssertionError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What a model raises that is built for another way."""


@dataclass(frozen=True, slots=True)
class How:
    """How tokens are chosen.

    Attributes:
        configuration: every setting of transformers' `generate`.
        processors: what is done to the logits besides.
        segment_tokens: tokens between two looks at who has ended.
    """

    configuration: GenerationConfig
    processors: LogitsProcessorList = field(default_factory=LogitsProcessorList)
    segment_tokens: int = _SEGMENT_TOKENS

    @property
    def most(self) -> int:
        """New tokens at most."""
        return int(self.configuration.max_new_tokens or 0)

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end an answer."""
        found: Any = self.configuration.eos_token_id
        return frozenset(found if isinstance(found, list) else [] if found is None else [found])


def pad_left(rows: Rows, loaded: LoadedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, each (rows, longest row), padded on the left."""
    width, pad = max(map(len, rows)), loaded.tokenizer.pad_token_id or 0
    ids = torch.tensor([[pad] * (width - len(row)) + [*row] for row in rows], device=loaded.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=loaded.device)
    return ids, mask


def ended(ids: list[int], ends: frozenset[int]) -> list[int]:
    """Tokens up to the first end: what follows is padding."""
    place = next((number for number, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: place + 1]


def in_segments(loaded: LoadedModel, rows: Rows, how: How) -> list[list[int]]:
    """Padded on the left, with a growing cache; rows that have ended leave the batch between segments."""
    inputs, mask = pad_left(rows, loaded)
    width, places = inputs.shape[1], list(range(len(inputs)))
    found: list[list[int]] = [[] for _ in places]
    cache, segment = _cache(loaded), copy(how.configuration)
    while places and (left := how.most - (inputs.shape[1] - width)) > 0:
        segment.max_new_tokens = min(how.segment_tokens, left)
        made = loaded.model.generate(
            input_ids=inputs,
            attention_mask=mask,
            past_key_values=cache,
            generation_config=segment,
            logits_processor=how.processors,
        )
        alive = []
        for place, ids in enumerate(made[:, width:].tolist()):
            found[places[place]] = ids
            if not how.ends.intersection(ids):
                alive.append(place)
        keep = torch.tensor(alive, device=made.device, dtype=torch.long)
        if 0 < len(alive) < len(places):
            cache.batch_select_indices(keep)
        mask = torch.cat([mask, mask.new_ones(len(mask), made.shape[1] - inputs.shape[1])], 1)[keep]
        inputs, places = made[keep], [places[place] for place in alive]
    return found


def in_one_batch(loaded: LoadedModel, rows: Rows, how: How) -> list[list[int]]:
    """Padded on the left, in one go."""
    inputs, mask = pad_left(rows, loaded)
    made = loaded.model.generate(
        input_ids=inputs,
        attention_mask=mask,
        generation_config=how.configuration,
        logits_processor=how.processors,
    )
    new: list[list[int]] = made[:, inputs.shape[1] :].tolist()
    return new


def of_equal_length(loaded: LoadedModel, rows: Rows, how: How) -> list[list[int]]:
    """Rows of one length together, so that nothing is padded."""
    found: list[list[int]] = [[] for _ in rows]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for _, group in groupby(order, key=lambda i: len(rows[i])):
        places = list(group)
        for place, ids in zip(places, in_one_batch(loaded, [rows[i] for i in places], how), strict=True):
            found[place] = ids
    return found


def one_by_one(loaded: LoadedModel, rows: Rows, how: How) -> list[list[int]]:
    return [in_one_batch(loaded, [row], how)[0] for row in rows]


def without_cache(loaded: LoadedModel, rows: Rows, how: How) -> list[list[int]]:
    """Everything is computed anew for every token; what all other ways are measured by."""
    configuration = copy(how.configuration)
    configuration.use_cache = False
    return one_by_one(loaded, rows, How(configuration, how.processors))


def _cache(loaded: LoadedModel) -> DynamicCache:
    return DynamicCache(config=loaded.model.config.get_text_config(decoder=True))


def grows(loaded: LoadedModel, length: int) -> bool:
    """Whether a model keeps nothing of `length` tokens but their keys and values, and forgets none."""
    try:
        layers: Any = _cache(loaded).layers
    except FAILS:
        return False
    return all(
        type(layer) is DynamicLayer or (type(layer) is DynamicSlidingWindowLayer and int(layer.sliding_window) > length)
        for layer in layers
    )


def fresh_configuration(
    loaded: LoadedModel, max_new_tokens: int, *, ends: Sequence[int], **chosen: Any
) -> GenerationConfig:
    """Every setting of an answer; the most probable token where nothing else is chosen."""
    make: Any = GenerationConfig
    configuration: GenerationConfig = make(
        **{"do_sample": False, "num_beams": 1, "use_cache": True, "return_dict_in_generate": False, **chosen},
        max_new_tokens=max_new_tokens,
        eos_token_id=list(ends) or None,
        pad_token_id=loaded.tokenizer.pad_token_id or 0,
    )
    return configuration


def positions(loaded: LoadedModel) -> int | None:
    """The longest sequence that a model reads; None where its configuration does not say."""
    found = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None
