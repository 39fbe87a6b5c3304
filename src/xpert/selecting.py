"""Where to start: the nearest pLLM in the space, or the base. Knows explanations only.

Kinds are compared by direction and benefit by length: a pLLM tuned on little stylistic data points the
right way but is short.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from xpert.errors import SpaceError
from xpert.records import Explanation, PoolRecord, Ranked, Selection
from xpert.space.decomposition import FloatArray
from xpert.space.distance import direction_distance, gap

LEAST_SPREAD = 0.1


def select(
    person: Explanation,
    candidates: Sequence[PoolRecord],
    *,
    reference: Literal["prompts", "continuation", "none"] = "prompts",
) -> Selection:
    """Choose the pLLM that lies nearest to the person, or abstain.

    Distance of candidate i: 1 - cos(cu / w, ci / w), c the coordinates in the space: what the words say and what
    pLLMs have beyond them; w is the square root of the spread of each axis over the candidates, so that an axis
    on which all agree does not decide. Its gain: ||cu|| - ||cu - ci||. The nearest is chosen if its gain is above
    the noise, how far the base lies from itself in the person's direction with as many pairs; otherwise the
    choice is None: start from the base.

    Args:
        person: cu.
        candidates: records with an explanation in the same space.
        reference: how the person's reference answers were made, for the record.

    Raises:
        SpaceError: a candidate is not explained, or in another space.
    """
    own = np.asarray(person.position)
    others = [np.asarray(position_in(record, person)) for record in candidates]
    weights = _weights(others)
    ranking = []
    for record, other in zip(candidates, others, strict=True):
        apart = gap(own, other)
        ranking.append(
            Ranked(
                name=record.name,
                distance=direction_distance(own / weights, other / weights),
                gap=apart,
                gain=float(np.linalg.norm(own)) - apart,
            )
        )
    ranking.sort(key=lambda r: (r.distance, r.gap, r.name))
    choice = ranking[0].name if ranking and ranking[0].gain > person.noise else None
    return Selection(
        choice=choice,
        ranking=tuple(ranking),
        margin=ranking[1].distance - ranking[0].distance if len(ranking) > 1 else 0.0,
        noise=person.noise,
        reason=_reason(person, ranking, candidates, choice),
        person=person,
        reference=reference,
    )


def _weights(others: Sequence[FloatArray]) -> FloatArray | float:
    """Square root of each axis's spread over the candidates at unit length, at least a tenth of the widest."""
    lengths = [float(np.linalg.norm(other)) for other in others]
    if len(others) < 3 or min(lengths) == 0.0:
        return 1.0
    spread = np.std([other / length for other, length in zip(others, lengths, strict=True)], axis=0)
    if not spread.any():
        return 1.0
    return np.asarray(np.sqrt(np.maximum(spread, LEAST_SPREAD * spread.max())), dtype=np.float64)


def position_in(record: PoolRecord, person: Explanation) -> tuple[float, ...]:
    """Coordinates of a candidate along the axes that a person's explanation has; a wish has those of the words alone.

    Raises:
        SpaceError: the candidate is not explained, or in another space.
    """
    found = record.explanation
    if found is None:
        raise SpaceError(f"pLLM {record.name!r} is not explained: run `xpert pool reindex`")
    if found.digests.space != person.digests.space:
        raise SpaceError(
            f"pLLM {record.name!r} is explained in space {found.digests.space[:12]}, the person in "
            f"{person.digests.space[:12]}: run `xpert pool reindex`, then explain the person again"
        )
    return found.position[: len(person.position)]


def _reason(
    person: Explanation, ranking: Sequence[Ranked], candidates: Sequence[PoolRecord], choice: str | None
) -> str:
    if not ranking:
        return "the pool is empty, so start from the base"
    best = ranking[0]
    if choice is None:
        nearest = f"nothing fits: even the nearest, {best.name}, lies"
        if best.gain < 0:
            return f"{nearest} {-best.gain:.2f} farther from you than the base does, so start from the base"
        return (
            f"{nearest} only {best.gain:.2f} nearer to you than the base does, within the noise of "
            f"{person.noise:.2f}, so start from the base"
        )
    chosen = next(record for record in candidates if record.name == choice)
    assert chosen.explanation is not None
    theirs = {w.word for w in chosen.explanation.strongest(6)}
    shared = [w.word for w in person.strongest(3) if w.word in theirs]
    like = f"you are both {_list(shared)}" if shared else "its coefficients point the same way as yours"
    return f"{like}; {choice} lies {best.gain:.2f} nearer to you than the base does (noise {person.noise:.2f})"


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
