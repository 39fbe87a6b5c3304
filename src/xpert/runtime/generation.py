"""From logits to tokens, one by one, whatever computes the logits. Knows numbers only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from xpert.errors import ModelError, SettingsError
from xpert.runtime.interface import Answering

Next = Callable[[Sequence[int]], np.ndarray]
"""New tokens -> logits (v,) of the one that follows; remembers what came before."""


def continued(following: Next, tokens: Sequence[int], how: Answering, length_tokens: int) -> list[int]:
    """New tokens after `tokens`, with a stop token at the end where one came.

    Args:
        following: what computes the logits.
        tokens: at least one.
        how: to choose.
        length_tokens: longest sequence, old and new tokens together.

    Raises:
        SettingsError: no tokens, or no room for a new one.
        ModelError: the logits are not finite.
    """
    room = length_tokens - len(tokens)
    if not tokens or room < 1:
        raise SettingsError(
            f"{len(tokens)} tokens are given; at least 1 and at most {length_tokens - 1} leave room for an answer: "
            "shorten the prompt, or export with a larger --max-length-tokens"
        )
    draw, made, given = np.random.default_rng(how.seed), list[int](), list(tokens)
    while len(made) < min(how.max_new_tokens, room):
        logits = following(given)
        if not np.isfinite(logits).all():
            raise ModelError(
                "the logits are not finite: the adapter has diverged, tune again with a lower learning rate"
            )
        chosen = _chosen(logits, how, draw)
        made.append(chosen)
        if chosen in how.stops:
            break
        given = [chosen]
    return made


def _chosen(logits: np.ndarray, how: Answering, draw: np.random.Generator) -> int:
    """The most probable token, or one drawn from the smallest set whose probabilities reach `top_p`."""
    if how.temperature <= 0:
        return int(logits.argmax())
    scaled = logits.astype(np.float64) / how.temperature
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    kept = order[: int(np.searchsorted(np.cumsum(p[order]), how.top_p)) + 1]
    return int(draw.choice(kept, p=p[kept] / p[kept].sum()))
