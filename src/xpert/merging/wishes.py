"""Points in a space that nobody has shown yet: what a person wishes for, and what a merge is predicted to be.

Knows words, axes and explanations; never sees weights or texts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from xpert.errors import SettingsError, SpaceError
from xpert.explaining import INTERVAL, noise_floor
from xpert.merging.weights import combine
from xpert.records import Combination, Digests, Explanation, PoolRecord, WordCoefficient
from xpert.space.basis import Space
from xpert.space.decomposition import FloatArray

FARTHEST = 3.0
"""Coefficients are in units of a full style: no model is several times a full style."""
MOST_WISHED, COST, DOUBT = 4, 0.005, 0.5
"""Of `grant`; the cost is a share of the wish's length."""
WISH = "wish"
"""What stands for the digest of the prompts where nobody answered any."""


def wish(wanted: Mapping[str, float], space: Space, person: Explanation | None = None) -> Explanation:
    """The point in a space that some words describe, as if it had been explained.

    Without a person, c = sum_k w_k c(u_k), along the axes of the words alone: of what no word says nothing is wished.
    With a person, their own point, moved to z_k = w_k along each wanted word, and to 0 along its opposite.

    Args:
        wanted: word -> w_k, in units of a full style; negative: less than the base.
        space: of the pool.
        person: whose point is moved; None: the base's.

    Raises:
        SettingsError: no word, an unknown one, a number that is not within -3 and 3, or words that cancel each other.
        SpaceError: the person is explained in another space.
    """
    check_words(wanted, space)
    places = space.word_places
    if person is None:
        count = space.word_axes
        point, pairs, prompts = np.zeros(count), len(space.null), WISH
        own = dict.fromkeys(space.words, 0.0)
    else:
        if person.digests.space != space.digest:
            raise SpaceError(
                f"the person is explained in space {person.digests.space[:12]}, the pool has {space.digest[:12]}: "
                "explain the person again"
            )
        point = np.asarray(person.position)
        count, pairs, prompts = len(point), person.pairs, person.digests.prompts
        own = {word.word: word.coefficient for word in person.words}
    aims = _aims(wanted, space)
    for row, word in zip(places[:, :count], space.words, strict=True):
        if word in aims:
            point = point + (aims[word] - own[word]) * row
    if float(np.linalg.norm(point)) < 1e-6:
        raise SettingsError(f"{_listed(wanted)} cancel each other, and leave the base: wish for something else")
    return _explained(point, space, pairs, prompts, person)


def grant(
    wished: Explanation,
    candidates: Sequence[PoolRecord],
    *,
    most: int = MOST_WISHED,
    fixed: Mapping[str, float | None] | None = None,
    forbidden: Collection[str] = (),
) -> Combination:
    """The models whose sum comes nearest to a wish; `combine` with some doubt, since nobody has shown such a sum.

    One word is often had only as the difference of large parts, of which a little goes wrong each. The sum must come
    nearer than the best single model at its best weight, and than the base, by more than the noise; how many models it
    takes for that does not matter.

    Args:
        wished: of `wish`.
        candidates, most, fixed, forbidden: as `combine`.

    Raises:
        SettingsError, SpaceError: as `combine`.
    """
    cost = COST * float(np.linalg.norm(wished.position))
    several = combine(wished, candidates, most=most, cost=cost, fixed=fixed, forbidden=forbidden, doubt=DOUBT)
    if fixed:
        return several
    single = combine(wished, candidates, most=1, forbidden=forbidden)
    return several if several.distance < single.distance - wished.noise else single


def predicted_words(coordinates: Sequence[float], space: Space) -> dict[str, float]:
    """Word -> z_k of a point along the axes (m,), or along the first of them; strongest first.

    Raises:
        SpaceError: the point has more coordinates than the space has axes.
    """
    z = space.coefficients_at(np.asarray(coordinates))
    return dict(
        sorted(((w, float(c)) for w, c in zip(space.words, z, strict=True)), key=lambda item: (-item[1], item[0]))
    )


def predicted(plan: Combination, space: Space) -> dict[str, float]:
    """Word -> z_k that a combination is predicted to have, strongest first."""
    return predicted_words(plan.coordinates, space)


def _explained(point: FloatArray, space: Space, pairs: int, prompts: str, person: Explanation | None) -> Explanation:
    toward = np.zeros(len(space.all_axes))
    toward[: len(point)] = point
    interval = INTERVAL if person is None else person.interval
    floors, noise = noise_floor(space, pairs, toward=toward, interval=interval)
    z = space.coefficients_at(point)
    return Explanation(
        words=tuple(
            WordCoefficient(word=word, coefficient=float(c), low=float(c), high=float(c), floor=float(f))
            for word, c, f in zip(space.words, z, floors, strict=True)
        ),
        residual=0.0 if person is None else person.residual,
        pairs=pairs,
        noise=noise,
        coordinates=tuple(map(float, point)),
        interval=interval,
        digests=Digests(base=space.base, summarizer=space.summarizer, prompts=prompts, space=space.digest),
    )


def _aims(wanted: Mapping[str, float], space: Space) -> dict[str, float]:
    """Wanted words with their numbers, and 0 for opposites of theirs that are not wanted."""
    poles = [(space.words[a], space.words[b]) for a, b in space.opposites]
    opposite = {one: other for a, b in poles for one, other in ((a, b), (b, a))}
    idle = {opposite[word]: 0.0 for word in wanted if word in opposite and opposite[word] not in wanted}
    return {**wanted, **idle}


def check_words(wanted: Mapping[str, float], space: Space) -> None:
    """See that words are the space's and numbers within their range, whoever's point they will move.

    Raises:
        SettingsError: they are not.
    """
    if not space.words:
        raise SettingsError(
            "the pool's space has no words, so nothing can be wished for: build another one with `xpert pool reindex`"
        )
    if not wanted:
        raise SettingsError(f"nothing is wished for: give words such as {space.words[0]}=0.8")
    for word, weight in wanted.items():
        if word not in space.words:
            raise SettingsError(f"the pool's space has no word {word!r}: choose from {', '.join(space.words)}")
        if not -FARTHEST <= weight <= FARTHEST:
            reach = f"-{FARTHEST:g} to {FARTHEST:g}"
            raise SettingsError(f"{word}={weight!r} is out of range: 1 is a full style; give a number from {reach}")


def _listed(wanted: Mapping[str, float]) -> str:
    return " and ".join(f"{word}={weight:g}" for word, weight in wanted.items())
