"""From logits to tokens, one by one, whatever computes the logits. Knows numbers only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from xpert.errors import ModelError, SettingsError
from xpert.runtime.interface import Answering

_LIKELIEST = 256
"""Tokens that are sorted first: at usual settings they hold the nucleus of nearly every step."""

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
    kept = _nucleus(p, how.top_p)
    return int(draw.choice(kept, p=p[kept] / p[kept].sum()))


def _nucleus(p: np.ndarray, top_p: float, likeliest: int = _LIKELIEST) -> np.ndarray:
    """The most probable tokens, in order, up to the one with which their mass reaches `top_p`.

    The likeliest few hundred are sorted first; the whole vocabulary only where they do not reach `top_p`.
    """
    if likeliest < len(p):
        # Sorted by number, so that the stable sort below orders equal tokens as one over the whole vocabulary does.
        first = np.sort(np.argpartition(-p, likeliest)[:likeliest])
        order = first[np.argsort(-p[first], kind="stable")]
        count = int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1
        # Beyond the first there may be tokens as likely as the least of them, never likelier ones.
        if count < likeliest and p[order[count - 1]] > p[order[-1]]:
            return order[:count]
    order = np.argsort(-p, kind="stable")
    return order[: int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1]
