"""Ways of writing tokens behind prompts, and which of them a model can be asked by.

Knows models in memory and token ids; nothing of texts. The fastest way holds a batch padded on the left, keeps keys and
values, and lets rows leave once they have ended. Not every model can do that: some keep a state that sees the padding,
or a cache that cannot lose rows, and give other tokens without a word. So a way is taken only after it gave, on this
model, the numbers of plain forward passes of one sequence at a time; slower ways are tried in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from xpert.models.loading import LoadedModel

Rows = Sequence[Sequence[int]]
_Way = Callable[[LoadedModel, Rows, "How"], list[list[int]]]

_SEGMENT_TOKENS = 24
"""Answers that have ended leave the batch after so many tokens; before, they are computed in vain."""

_FAILS = (AttributeError, AssertionError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
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


def written(loaded: LoadedModel, rows: Rows, how: How) -> list[list[int]]:
    """New tokens behind each row, the end token with them where one came; by the fastest way that is right."""
    if not rows:
        return []
    made = _way(loaded, max(map(len, rows)) + how.most)(loaded, rows, how)
    return [_ended(ids, how.ends) for ids in made]


def pad_left(rows: Rows, loaded: LoadedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, each (rows, longest row), padded on the left."""
    width, pad = max(map(len, rows)), loaded.tokenizer.pad_token_id or 0
    ids = torch.tensor([[pad] * (width - len(row)) + [*row] for row in rows], device=loaded.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=loaded.device)
    return ids, mask


def _ended(ids: list[int], ends: frozenset[int]) -> list[int]:
    """Tokens up to the first end: what follows is padding."""
    place = next((number for number, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: place + 1]


def _in_segments(loaded: LoadedModel, rows: Rows, how: How) -> list[list[int]]:
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


def _in_one_batch(loaded: LoadedModel, rows: Rows, how: How) -> list[list[int]]:
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


def _of_equal_length(loaded: LoadedModel, rows: Rows, how: How) -> list[list[int]]:
    """Rows of one length together, so that nothing is padded."""
    found: list[list[int]] = [[] for _ in rows]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for _, group in groupby(order, key=lambda i: len(rows[i])):
        places = list(group)
        for place, ids in zip(places, _in_one_batch(loaded, [rows[i] for i in places], how), strict=True):
            found[place] = ids
    return found


def _one_by_one(loaded: LoadedModel, rows: Rows, how: How) -> list[list[int]]:
    return [_in_one_batch(loaded, [row], how)[0] for row in rows]


def _without_cache(loaded: LoadedModel, rows: Rows, how: How) -> list[list[int]]:
    """Everything is computed anew for every token; what all other ways are measured by."""
    configuration = copy(how.configuration)
    configuration.use_cache = False
    return _one_by_one(loaded, rows, How(configuration, how.processors))


def _cache(loaded: LoadedModel) -> DynamicCache:
    return DynamicCache(config=loaded.model.config.get_text_config(decoder=True))


def _grows(loaded: LoadedModel, length: int) -> bool:
    """Whether all that a model keeps of `length` tokens are their keys and values, none of which it forgets."""
    try:
        layers: Any = _cache(loaded).layers
    except _FAILS:
        return False
    return all(
        type(layer) is DynamicLayer
        or (type(layer) is DynamicSlidingWindowLayer and int(layer.sliding_window) > length)
        for layer in layers
    )


_WAYS: tuple[_Way, ...] = (_in_segments, _in_one_batch, _of_equal_length, _one_by_one)
_found: dict[tuple[object, ...], _Way] = {}


def _way(loaded: LoadedModel, length: int) -> _Way:
    """The fastest way that is right, found out once a model: by what is in its files, and where it runs."""
    grows, model = _grows(loaded, length), loaded.model
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    key = (loaded.digest, type(base), base.dtype, loaded.device, model is not base, grows)
    if key not in _found:
        way = _try_ways(loaded, _WAYS if grows else _WAYS[1:])
        if way is None:
            return _without_cache
        _found[key] = way
    return _found[key]


@dataclass(frozen=True, slots=True)
class _Script:
    """Prompts and what is written behind them, whatever the model says: each last token has one that follows.

    Attributes:
        prompts: of unlike lengths, two of one.
        following: token -> the next; every token stands in one row and place only.
        stop: token that ends a row.
        steps: new tokens of the longest row.
    """

    prompts: list[list[int]]
    following: dict[int, int]
    stop: int
    steps: int

    def behind(self, prompt: Sequence[int]) -> list[int]:
        """What is written behind a prompt."""
        made = [self.following[prompt[-1]]]
        while len(made) < self.steps and made[-1] in self.following:
            made.append(self.following[made[-1]])
        return made


_LENGTHS, _STEPS, _ENDS_AFTER = (2, 13, 24, 7, 13), 8, (2, 8, 5, 8, 4)
"""Of the prompts of a script; so many tokens are written; rows end there (8: never). Segments are of three."""


def _script(loaded: LoadedModel) -> _Script | None:
    """A script in the tokens of a model; None where it has too few."""
    tokens, room = _vocabulary(loaded), positions(loaded)
    longest = min(max(_LENGTHS), (room or 10_000) - _STEPS - 1)
    pad = loaded.tokenizer.pad_token_id or 0
    free = [token for token in range(tokens) if token != pad]
    if longest < 2 or len(free) < 64:
        return None
    # Spread over the vocabulary, without order; special tokens among them do no harm here.
    spread = [free[(17 + number * 7919) % len(free)] for number in range(4 * len(free))]
    distinct = list(dict.fromkeys(spread))
    distinct += [token for token in free if token not in set(distinct)]
    stop, chain, following, prompts = distinct.pop(), iter(distinct), dict[int, int](), list[list[int]]()
    for number, (length, ends) in enumerate(zip(_LENGTHS, _ENDS_AFTER, strict=True)):
        row = [next(chain) for _ in range(ends + 1)]
        following |= dict(zip(row, row[1:], strict=False))
        if ends < _STEPS:
            following[row[ends - 1]] = stop
        start = [free[(3 + 31 * number + 101 * place) % len(free)] for place in range(min(length, longest) - 1)]
        prompts.append([*start, row[0]])
    return _Script(prompts, following, stop, _STEPS)


class _Recorder(LogitsProcessor):
    """Writes down the logits behind each token of a script, and says what the script says."""

    def __init__(self, script: _Script) -> None:
        self._script = script
        self.seen: dict[int, torch.Tensor] = {}

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, -torch.inf)
        for place, token in enumerate(input_ids[:, -1].tolist()):
            following = self._script.following.get(token)
            if following is None:
                forced[place] = scores[place]
                continue
            forced[place, following] = 0
            self.seen[token] = scores[place].float().cpu()
        return forced


def _try_ways(loaded: LoadedModel, ways: Sequence[_Way]) -> _Way | None:
    """The first way that gives the plain numbers; None where the numbers themselves are none."""
    script = _script(loaded)
    if script is None:
        return _without_cache
    with torch.inference_mode():
        for plain in (_whole_sequences, _plain_steps):
            try:
                wanted = plain(loaded, script)
            except _FAILS:
                continue
            if not all(bool(torch.isfinite(row).all()) for row in wanted.values()):
                return None
            for way in ways:
                if _agrees(_recorded(way, loaded, script), wanted, loaded.model.dtype):
                    return way
    return _without_cache


def _whole_sequences(loaded: LoadedModel, script: _Script) -> dict[int, torch.Tensor]:
    """Logits behind each token, from one forward pass a row: what a model gives whose tokens see none behind them."""
    wanted = {}
    for prompt in script.prompts:
        whole = [*prompt, *script.behind(prompt)]
        ids = torch.tensor([whole], device=loaded.device)
        logits = loaded.model(input_ids=ids, use_cache=False).logits[0].float().cpu()
        wanted |= {whole[place]: logits[place] for place in range(len(prompt) - 1, len(whole) - 1)}
    return wanted


def _plain_steps(loaded: LoadedModel, script: _Script) -> dict[int, torch.Tensor]:
    """Logits behind each token, from one forward pass a token."""
    seen = _recorded(_without_cache, loaded, script)
    if seen is None:
        raise ValueError("the model does not answer one row without a cache")
    return seen


def _recorded(way: _Way, loaded: LoadedModel, script: _Script) -> dict[int, torch.Tensor] | None:
    """Logits behind each token of a script, asked for by a way; None where the model fails or says something else."""
    recorder = _Recorder(script)
    configuration = fresh_configuration(loaded, script.steps, ends=[script.stop])
    how = How(configuration, LogitsProcessorList([recorder]), segment_tokens=3)
    try:
        made = way(loaded, script.prompts, how)
    except _FAILS:
        return None
    said = [_ended(ids, how.ends) for ids in made]
    return recorder.seen if said == [script.behind(prompt) for prompt in script.prompts] else None


def _agrees(seen: dict[int, torch.Tensor] | None, wanted: dict[int, torch.Tensor], dtype: torch.dtype) -> bool:
    """Whether logits are the same, but for the rounding of their type."""
    if seen is None or seen.keys() != wanted.keys():
        return False
    tolerance = 1e-4 if dtype in (torch.float32, torch.float64) else 5e-2
    return all(bool((seen[token] - row).abs().max() <= tolerance * row.abs().max()) for token, row in wanted.items())


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


def _vocabulary(loaded: LoadedModel) -> int:
    return int(loaded.model.get_input_embeddings().weight.shape[0])


def positions(loaded: LoadedModel) -> int | None:
    """The longest sequence that a model reads; None where its configuration does not say."""
    found = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None
