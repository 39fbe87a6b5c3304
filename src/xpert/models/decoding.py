"""Tokens behind prompts, by the fastest way that is right on this model.

Knows models in memory and token ids; nothing of texts. The fastest way holds a batch padded on the left, keeps keys and
values, and lets rows leave once they have ended. Not every model can do that: some keep a state that sees the padding,
or a cache that cannot lose rows, and give other tokens without a word. So a way is taken only after it gave, on this
model, the numbers of plain forward passes of one sequence at a time; slower ways are tried in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from xpert.errors import ModelError
from xpert.models.loading import LoadedModel
from xpert.models.ways import (
    FAILS,
    How,
    Rows,
    Way,
    ended,
    fresh_configuration,
    grows,
    in_one_batch,
    in_segments,
    of_equal_length,
    one_by_one,
    positions,
    without_cache,
)
from xpert.printing import printable


def written(loaded: LoadedModel, rows: Rows, how: How) -> list[list[int]]:
    """New tokens behind each row, the end token with them where one came; by the fastest way that is right."""
    if not rows:
        return []
    made = _way(loaded, max(map(len, rows)) + how.most)(loaded, rows, how)
    return [ended(ids, how.ends) for ids in made]


_WAYS: tuple[Way, ...] = (in_segments, in_one_batch, of_equal_length, one_by_one)
_found: dict[tuple[object, ...], Way] = {}


def _way(loaded: LoadedModel, length: int) -> Way:
    """The fastest way that is right, found out once a model: by what is in its files, and where it runs."""
    growing, model = grows(loaded, length), loaded.model
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    key = (loaded.digest, type(base), base.dtype, loaded.device, model is not base, growing)
    if key not in _found:
        way = _try_ways(loaded, _WAYS if growing else _WAYS[1:])
        if way is None:
            return without_cache
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

_DISTINCT = 64


def _script(loaded: LoadedModel) -> _Script | None:
    """A script in the tokens of a model; None where it has too few."""
    tokens, room = loaded.model.get_input_embeddings().weight.shape[0], positions(loaded)
    longest = min(max(_LENGTHS), (room or 10_000) - _STEPS - 1)
    pad = loaded.tokenizer.pad_token_id or 0
    free = [token for token in range(tokens) if token != pad]
    if longest < 2 or len(free) < _DISTINCT:
        return None
    # Spread over the vocabulary, without order; special tokens among them do no harm here.
    distinct = [free[number * 23 % _DISTINCT * len(free) // _DISTINCT] for number in range(_DISTINCT)]
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


def _try_ways(loaded: LoadedModel, ways: Sequence[Way]) -> Way | None:
    """The first way that gives the plain numbers; None where the numbers themselves are none.

    Raises:
        ModelError: the model fails whatever way it is asked.
    """
    script = _script(loaded)
    if script is None:
        return without_cache
    failure: Exception | None = None
    computes = False
    with torch.inference_mode():
        for plain in (_whole_sequences, _plain_steps):
            try:
                wanted = plain(loaded, script)
            except torch.OutOfMemoryError:
                raise
            except FAILS as error:
                failure = failure or error
                continue
            if not all(bool(torch.isfinite(row).all()) for row in wanted.values()):
                return None
            for way in ways:
                if _agrees(_recorded(way, loaded, script), wanted, loaded.model.dtype):
                    return way
            computes = True
    if computes:
        return without_cache
    raise ModelError(
        f"the model of {loaded.folder} can be read but computes nothing ({type(failure).__name__}: "
        f"{printable(' '.join(str(failure).split()), 200)}): its config.json is of another model, or a package is too "
        "old for it; give another base"
    ) from failure


def _whole_sequences(loaded: LoadedModel, script: _Script) -> dict[int, torch.Tensor]:
    """Logits behind each token, from one forward pass a row: what a model gives whose tokens see none behind them."""
    wanted = dict[int, torch.Tensor]()
    for prompt in script.prompts:
        whole = [*prompt, *script.behind(prompt)]
        ids = torch.tensor([whole], device=loaded.device)
        logits = loaded.model(input_ids=ids, use_cache=False).logits[0].float().cpu()
        wanted |= {whole[place]: logits[place] for place in range(len(prompt) - 1, len(whole) - 1)}
    return wanted


def _plain_steps(loaded: LoadedModel, script: _Script) -> dict[int, torch.Tensor]:
    """Logits behind each token, from one forward pass a token."""
    seen = _recorded(without_cache, loaded, script)
    if seen is None:
        raise ValueError("the model does not answer one row without a cache")
    return seen


def _recorded(way: Way, loaded: LoadedModel, script: _Script) -> dict[int, torch.Tensor] | None:
    """Logits behind each token of a script, asked for by a way; None where the model fails or says something else."""
    recorder = _Recorder(script)
    configuration = fresh_configuration(loaded, script.steps, ends=[script.stop])
    how = How(configuration, LogitsProcessorList([recorder]), segment_tokens=3)
    try:
        made = way(loaded, script.prompts, how)
    except FAILS:
        return None
    said = [ended(ids, how.ends) for ids in made]
    return recorder.seen if said == [script.behind(prompt) for prompt in script.prompts] else None


def _agrees(seen: dict[int, torch.Tensor] | None, wanted: dict[int, torch.Tensor], dtype: torch.dtype) -> bool:
    """Whether logits are the same, up to the rounding of their type."""
    if seen is None or seen.keys() != wanted.keys():
        return False
    tolerance = 1e-4 if dtype in (torch.float32, torch.float64) else 5e-2
    return all(bool((seen[token] - row).abs().max() <= tolerance * row.abs().max()) for token, row in wanted.items())
