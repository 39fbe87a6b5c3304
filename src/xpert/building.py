"""Building a space: origin and noise from the base, words from the pLLMs, Algorithm 1 over all of them.

The only place where probing, summarizing and the space's arithmetic meet to make something new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from xpert.errors import SpaceError
from xpert.explainer import AdapterProber, Prober
from xpert.explaining import explain_embeddings
from xpert.models.generation import Progress
from xpert.probing.rewriting import Rewriter
from xpert.records import Explanation
from xpert.space.basis import E_DECOMP, E_ORTHO, Space, grow_over
from xpert.space.decomposition import FloatArray
from xpert.space.poles import pair_poles
from xpert.space.words import merge_candidates
from xpert.summarizing.calibration import Calibration, calibrate
from xpert.summarizing.language import LanguageSummarizer
from xpert.summarizing.summarizer import PairT, Proposal, Summarizer


@dataclass(frozen=True)
class BuiltSpace:
    """A space, and what building it has measured.

    Attributes:
        space: words, sub-vectors, origin and noise.
        exact_words: words with exact sub-vectors.
        calibration: how the fast sub-vectors compare with the exact ones; None where no fast word was tuned.
        embeddings: name -> embeddings (n, d) of an adapter's pairs, so that it can be explained at once.
        newcomers: pLLMs that came into the pool too late to have a say in the words; `opening.rebuild` tells of them.
    """

    space: Space
    exact_words: tuple[str, ...]
    calibration: Calibration | None
    embeddings: Mapping[str, FloatArray]
    newcomers: tuple[str, ...] = ()


def build_space(
    prober: AdapterProber[PairT],
    summarizer: Summarizer[PairT],
    adapters: Mapping[str, Path],
    rewriter: Rewriter | None = None,
    *,
    exact_words: int = 6,
    held_out: bool = True,
    e_ortho: float = E_ORTHO,
    e_decomp: float = E_DECOMP,
    most_words: int = 12,
    least_probability: float = 0.01,
    unit_of_pool: bool = True,
    on_progress: Progress | None = None,
) -> BuiltSpace:
    """Build the basis over the pLLMs of a pool (paper, Algorithm 1).

    The most probable `exact_words` candidates get exact sub-vectors (restyled texts through the
    summarizer); the fast path is tuned against those and serves the other candidates.

    Args:
        prober: base and prompts.
        summarizer: S.
        adapters: name -> adapter folder, read in the order of the names.
        rewriter: restyles the base model's answers; None: every word goes the fast way, as pictures' words do.
        exact_words: how many words go the slow way.
        held_out: measure the fast path on left-out words.
        e_ortho: largest cosine between words.
        e_decomp: residual share at which words are enough.
        most_words: largest k.
        least_probability: candidates that the summarizer finds less probable are no words of style.
        unit_of_pool: without exact sub-vectors, let 1 be the median over the pLLMs of their largest coefficient;
            False: sub-vectors of length 1, coefficients in units of the summarizer's embedding.
        on_progress: called with (stage, done, total).

    Raises:
        SpaceError: the summarizer proposed no word.
    """
    if summarizer.width < 1:  # also loads the summarizer, so that one that is missing is told before hours of work
        raise SpaceError("the summarizer's embeddings have no numbers: give another one")
    null = summarizer.embed(prober.null_pairs(on_progress), on_progress=on_progress)
    found, embeddings = _read_adapters(prober, summarizer, adapters, least_probability, on_progress)
    ranked = merge_candidates(candidate for _, candidates in found for candidate in candidates)
    if not ranked:
        raise SpaceError(_no_words(len(adapters), of_texts=isinstance(prober, Prober)))
    slow = [word for word, _ in ranked[:exact_words]] if rewriter is not None else []
    exact: dict[str, FloatArray] = {}
    if rewriter is not None and isinstance(prober, Prober):
        exact = exact_vectors(prober, cast(Summarizer, summarizer), slow, rewriter, null.mean(0), on_progress)
    table, calibration = _word_table(summarizer, [word for word, _ in ranked], exact, held_out, on_progress)
    space = Space(
        words=(),
        vectors=np.zeros((0, null.shape[1])),
        origin=null.mean(0),
        null=null,
        scale=float(np.median([np.linalg.norm(v) for v in exact.values()])) if exact else 1.0,
        summarizer=summarizer.identity,
        base=prober.base_digest,
        prompts=prober.digest,
        e_ortho=e_ortho,
        e_decomp=e_decomp,
    )
    grown = grow_over(space, found, lambda some: np.stack([table[word] for word in some]), most_words=most_words)
    if not exact and grown.words and unit_of_pool:
        grown = _scaled_to_pool(grown, [mean for mean, _ in found])
    grown = grown.with_axes(np.stack([mean for mean, _ in found]))
    return BuiltSpace(grown, tuple(slow), calibration, embeddings)


def _no_words(count: int, *, of_texts: bool) -> str:
    """What can be done where no word was proposed."""
    if of_texts:
        return (
            f"the summarizer proposed no word for any of {count} pLLMs: it must answer with an adjective; try another "
            "summarizer, or `--encoder packaged`"
        )
    return (
        f"no word was proposed for any of {count} image models: a vision-language model must answer with adjectives; "
        "try another `--vision MODEL`, or the words of a vocabulary (without --vision; for a pool `--vision none`)"
    )


Found = list[tuple[FloatArray, list[tuple[str, float]]]]


def _read_adapters(
    prober: AdapterProber[PairT],
    summarizer: Summarizer[PairT],
    adapters: Mapping[str, Path],
    least: float,
    on_progress: Progress | None,
) -> tuple[Found, dict[str, FloatArray]]:
    """Of every adapter, in the order of the names: mean embedding and candidate words; and all its embeddings."""
    found: Found = []
    embeddings: dict[str, FloatArray] = {}
    for name, adapter in sorted(adapters.items()):
        pairs = prober.adapter_pairs(adapter, on_progress)
        embeddings[name] = summarizer.embed(pairs, on_progress=on_progress)
        found.append((embeddings[name].mean(0), _likely(summarizer.propose(pairs), least)))
    return found, embeddings


def _word_table(
    summarizer: Summarizer[PairT],
    words: Sequence[str],
    exact: Mapping[str, FloatArray],
    held_out: bool,
    on_progress: Progress | None,
) -> tuple[dict[str, FloatArray], Calibration | None]:
    """Directions of words, exact where there are exact ones, fast elsewhere, opposites on one line."""
    fast, calibration = summarizer, None
    if isinstance(summarizer, LanguageSummarizer) and len(exact) > 1:
        calibration = calibrate(summarizer, exact, held_out=held_out, on_progress=on_progress)
        fast = cast("Summarizer[PairT]", calibration.summarizer)
    others = [word for word in words if word not in exact]
    rows = {**exact, **(dict(zip(others, fast.word_vectors(others), strict=True)) if others else {})}
    paired = pair_poles(np.stack([rows[word] for word in words]))
    return dict(zip(words, paired, strict=True)), calibration


def _likely(proposals: Sequence[Proposal], least: float) -> list[tuple[str, float]]:
    return [(p.word, p.probability) for p in proposals if p.probability >= least]


def _scaled_to_pool(space: Space, means: Sequence[FloatArray]) -> Space:
    """Without exact sub-vectors, 1 is the median over the pLLMs of their largest coefficient."""
    scale = float(np.median([space.coefficients(mean).max() for mean in means])) or 1.0
    return replace(space, scale=scale, vectors=space.vectors * scale)


def exact_vectors(
    prober: Prober,
    summarizer: Summarizer,
    words: Sequence[str],
    rewriter: Rewriter,
    origin: FloatArray,
    on_progress: Progress | None = None,
) -> dict[str, FloatArray]:
    """Slow sub-vectors: mean S(unstylized, restyled) over the probe prompts, from the origin; word -> (d,)."""
    references, exact = prober.references(on_progress)[: len(prober.prompts)], {}
    for number, word in enumerate(words, 1):
        exact[word] = summarizer.embed(rewriter.restyle(prober.prompts, references, word)).mean(0) - origin
        if on_progress is not None:
            on_progress("restyling", number, len(words))
    return exact


def explain_alone(
    prober: AdapterProber[PairT],
    summarizer: Summarizer[PairT],
    adapter: Path,
    *,
    e_ortho: float = E_ORTHO,
    e_decomp: float = E_DECOMP,
    on_progress: Progress | None = None,
) -> Explanation:
    """Explain one personalized model without a pool, over a basis of its own.

    Sub-vectors have length 1, so coefficients are in units of the summarizer's embedding.

    Raises:
        SpaceError: the summarizer proposed no word.
    """
    built = build_space(
        prober,
        summarizer,
        {"personalized": adapter},
        e_ortho=e_ortho,
        e_decomp=e_decomp,
        unit_of_pool=False,
        on_progress=on_progress,
    )
    return explain_embeddings(built.embeddings["personalized"], built.space, prompts=prober.digest)
