"""Which tokens a sampled answer may take: temperature and nucleus, without sorting the vocabulary.

Knows logits only. The nucleus is the smallest set of most probable tokens whose mass reaches `top_p` (Holtzman et al.,
2020, arXiv 1904.09751).
"""

from __future__ import annotations

import torch
from transformers import LogitsProcessor, TopPLogitsWarper

from xpert.errors import ModelError

LIKELIEST = 256
"""Tokens that are looked at first: at usual settings they hold the nucleus of nearly every step."""


class OnlyNumbers(LogitsProcessor):
    """Passes logits on as they are, and refuses what is no number: the most probable of those means nothing.

    Args:
        name: of the model, for the error.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Logits (rows, vocabulary); minus infinity is a number here, as long as not all of a row is.

        Raises:
            ModelError: NaN or infinite.
        """
        if not bool(torch.isfinite(scores.amax(-1)).all()):
            raise ModelError(
                f"what {self._name} computes is not finite: it is damaged, or its numbers overflow here: use another "
                "device, such as cpu, or another model"
            )
        return scores


class NucleusSampling(LogitsProcessor):
    """Logits over a temperature, with every token outside the nucleus at minus infinity.

    It keeps the tokens that transformers' own warpers keep. Those sort the whole vocabulary, a third of a step of a
    small model with 50,000 tokens; here the likeliest few hundred are taken first, and only rows whose nucleus they do
    not hold are sorted whole.

    Args:
        temperature: above 0.
        top_p: mass of the nucleus, above 0; at 1 every token is kept.
        likeliest: how many tokens are taken first.
    """

    def __init__(self, temperature: float, top_p: float, likeliest: int = LIKELIEST) -> None:
        self._temperature, self._top_p, self._likeliest = temperature, top_p, likeliest
        self._whole = TopPLogitsWarper(top_p) if top_p < 1 else None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Logits (rows, vocabulary) -> the same over the temperature, minus infinity where a token may not be drawn."""
        scores = scores / self._temperature
        if self._whole is None:
            return scores
        if scores.shape[-1] <= self._likeliest:
            whole: torch.Tensor = self._whole(input_ids, scores)
            return whole
        top, tokens = scores.topk(self._likeliest, dim=-1)
        mass = (top - scores.logsumexp(-1, keepdim=True)).exp()
        # A token is in the nucleus where those before it do not reach top_p; the first one always is.
        before = mass.cumsum(-1) - mass
        inside = before < self._top_p
        kept = torch.full_like(scores, -torch.inf).scatter(-1, tokens, top.masked_fill(~inside, -torch.inf))
        # Where even the last of them is inside, tokens that were not looked at may be, too.
        if beyond := inside[:, -1].nonzero().flatten().tolist():
            kept[beyond] = self._whole(input_ids[beyond], scores[beyond])
        return kept
