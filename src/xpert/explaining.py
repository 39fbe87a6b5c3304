"""The heart: output pairs become coefficients over words, for a model on the server and a person on the device.

Knows a summarizer and a space; never sees weights, files or where the pairs came from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xpert.errors import DataError, SpaceError
from xpert.records import Digests, Explanation, WordCoefficient
from xpert.space.basis import Space
from xpert.space.decomposition import FloatArray
from xpert.summarizing.summarizer import PairT, Progress, Summarizer

RESAMPLES = 1000
INTERVAL = 0.95


def explain(
    pairs: Sequence[PairT],
    summarizer: Summarizer[PairT],
    space: Space,
    *,
    prompts: str,
    interval: float = INTERVAL,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Explanation:
    """Explain what sets the seconds of the pairs apart from the firsts (paper, sections 4.1 and 4.2).

    V = (1/n) sum_j S(reference_j, response_j); z = argmin ||(V - origin) - z U||, z >= 0.

    Args:
        pairs: n pairs of texts, or of pictures, for the same prompts.
        summarizer: S, the one that the space was built with.
        space: words, sub-vectors U (k, d), origin (d,) and noise (m, d).
        prompts: digest of the prompts, for the record.
        interval: level of the bootstrap interval over prompts, and of the noise floor.
        seed: of the bootstrap.
        on_progress: called with ("embedding", done, n).

    Raises:
        DataError: no pair.
        SpaceError: the space was built with another summarizer.
    """
    if not pairs:
        raise DataError("no output pairs to explain: give at least one prompt or sample")
    if summarizer.identity != space.summarizer:
        raise SpaceError(
            f"the space was built with summarizer {space.summarizer[:12]}, this one is {summarizer.identity[:12]}: "
            "use the pool's own summarizer, or rebuild the space with `xpert pool reindex`"
        )
    embeddings = summarizer.embed(pairs, on_progress=on_progress)
    return explain_embeddings(embeddings, space, prompts=prompts, interval=interval, seed=seed)


def explain_embeddings(
    embeddings: FloatArray, space: Space, *, prompts: str, interval: float = INTERVAL, seed: int = 0
) -> Explanation:
    """The arithmetic of `explain`, from embeddings (n, d)."""
    mean = space.coefficients(embeddings.mean(0))
    means = space.coefficients(_resampled_means(embeddings, len(embeddings), seed))
    tail = 50 * (1 - interval)
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    place = space.coordinates(embeddings.mean(0))
    floors, noise = noise_floor(space, len(embeddings), toward=place, interval=interval, seed=seed)
    return Explanation(
        words=tuple(
            WordCoefficient(word=word, coefficient=float(z), low=float(a), high=float(b), floor=float(f))
            for word, z, a, b, f in zip(space.words, mean, low, high, floors, strict=True)
        ),
        residual=space.residual(embeddings.mean(0)),
        pairs=len(embeddings),
        noise=noise,
        coordinates=tuple(map(float, place)),
        interval=interval,
        digests=Digests(base=space.base, summarizer=space.summarizer, prompts=prompts, space=space.digest),
    )


def noise_floor(
    space: Space, pairs: int, *, toward: FloatArray | None = None, interval: float = INTERVAL, seed: int = 0
) -> tuple[FloatArray, float]:
    """What coefficients reach when the base is compared with itself over `pairs` prompts.

    The origin is itself a mean, of the space's m (base, base) pairs, so it errs too: the bootstrap means of
    n pairs are widened by sqrt(1 + n / m). Without that, one comparison in six stands above a 95% floor.

    Args:
        space: with its (base, base) pairs.
        pairs: n.
        toward: a direction in the axes of the space, shape (m,).
        interval: the quantile.
        seed: of the bootstrap.

    Returns:
        Quantile of z_k for each word (k,), and of the position along `toward` (of the distance from the origin
        where there is no direction), over bootstrap means of those pairs.
    """
    wider = np.sqrt(1 + pairs / len(space.null))
    noise = space.origin + _resampled_means(space.null - space.origin, pairs, seed + 1) * wider
    floors = np.quantile(space.coefficients(noise), interval, axis=0)
    places = space.coordinates(noise)
    length = 0.0 if toward is None else float(np.linalg.norm(toward))
    reached = np.linalg.norm(places, axis=1) if toward is None or length == 0 else places @ toward / length
    return floors, max(0.0, float(np.quantile(reached, interval)))


def _resampled_means(rows: FloatArray, size: int, seed: int) -> FloatArray:
    """Means of RESAMPLES bootstrap samples of `size` rows; shape (RESAMPLES, k)."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(size, np.full(len(rows), 1 / len(rows)), size=RESAMPLES)
    return np.asarray(counts @ rows / size, dtype=np.float64)
