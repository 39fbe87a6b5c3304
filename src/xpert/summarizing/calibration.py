"""Error feedback: the fast path to word vectors, tuned against the slow one (paper, section 4.2).

A soft prompt before the instruction is optimised so that the direction of "more {word}" meets the exact
sub-vectors of a few words; then it serves all the others. The error is measured on words
left out of the fit, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from xpert.errors import SettingsError
from xpert.summarizing import instruction
from xpert.summarizing.language import LanguageSummarizer
from xpert.summarizing.summarizer import FloatArray, Progress


@dataclass(frozen=True)
class Calibration:
    """A tuned summarizer and how far its fast sub-vectors are from the exact ones.

    Attributes:
        summarizer: the same model with a soft prompt.
        cosine_before: mean cosine of fast and exact before tuning.
        cosine_after: the same after tuning, on the words that were fitted.
        cosine_held_out: the same on words left out of the fit, one at a time; None with fewer than 3 words.
    """

    summarizer: LanguageSummarizer
    cosine_before: float
    cosine_after: float
    cosine_held_out: float | None


def mean_cosine(fast: FloatArray, exact: FloatArray) -> float:
    """Mean over rows of the cosine; shapes (k, d)."""
    lengths = np.linalg.norm(fast, axis=1) * np.linalg.norm(exact, axis=1)
    return float(np.mean((fast * exact).sum(1) / np.maximum(lengths, 1e-12)))


def calibrate(
    summarizer: LanguageSummarizer,
    exact: Mapping[str, FloatArray],
    *,
    soft_tokens: int = 4,
    steps: int = 60,
    learning_rate: float = 0.1,
    held_out: bool = True,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Calibration:
    """Tune the fast path on exact sub-vectors.

    Args:
        summarizer: not changed; a new one is returned.
        exact: word -> exact sub-vector (d,), measured from the origin of the space; at least 2.
        soft_tokens: s, length of the soft prompt.
        steps: of Adam, full batch over the words.
        learning_rate: in units of the input embeddings' standard deviation.
        held_out: also measure the error on left-out words (as many fits more as there are words).
        seed: of the soft prompt's start.
        on_progress: called with ("tuning the fast path", done, total).

    Raises:
        SettingsError: fewer than 2 words.
    """
    if len(exact) < 2:
        raise SettingsError(f"error feedback needs at least 2 exact words, got {len(exact)}")
    words = sorted(exact)
    target = np.stack([exact[word] for word in words])
    before = mean_cosine(replace(summarizer, soft=None).word_vectors(words), target)
    folds = [[w for w in words if w != out] for out in words] if held_out and len(words) > 2 else []
    total = (len(folds) + 1) * steps
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress("tuning the fast path", done, total)

    def fit(some: list[str]) -> LanguageSummarizer:
        rows = np.stack([exact[word] for word in some])
        return replace(summarizer, soft=_fit(summarizer, some, rows, soft_tokens, steps, learning_rate, seed, tick))

    left = [
        mean_cosine(fit(fold).word_vectors([out]), exact[out][None]) for out, fold in zip(words, folds, strict=False)
    ]
    tuned = fit(words)
    after = mean_cosine(tuned.word_vectors(words), target)
    return Calibration(tuned, before, after, float(np.mean(left)) if left else None)


def _fit(
    summarizer: LanguageSummarizer,
    words: list[str],
    exact: FloatArray,
    soft_tokens: int,
    steps: int,
    learning_rate: float,
    seed: int,
    tick: Callable[[], None],
) -> FloatArray:
    """Soft embeddings (s, width) that maximise the mean cosine with the exact sub-vectors."""
    table = summarizer.loaded.model.get_input_embeddings().weight
    spread = float(table.float().std())
    start = torch.Generator().manual_seed(seed)
    soft = torch.randn(soft_tokens, table.shape[1], generator=start).to(table.device) * spread * 0.1
    goal = torch.from_numpy(exact).to(table.device, torch.float32)
    sides = [(instruction.ask_word(word), instruction.ask_word(word, swapped=True)) for word in words]
    soft.requires_grad_(True)
    optimizer = torch.optim.Adam([soft], lr=learning_rate * spread)
    for _ in range(steps):
        fast = torch.stack([summarizer.soft_state(a, soft) - summarizer.soft_state(b, soft) for a, b in sides])
        loss = 1 - torch.cosine_similarity(fast, goal).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        tick()
    return soft.detach().cpu().numpy().astype(np.float64)
