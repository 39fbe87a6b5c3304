"""Which models to merge for a person, and how much of each. Knows explanations only.

    a = argmin ||cu - sum_i a_i ci|| + cost * |{i: a_i > 0}|, 0.05 <= a_i <= 1.5 or a_i = 0, at most m of them not 0;

c are coordinates in the space (paper, section 4.4). With the noise as cost, no set is taken of which a part is as near
within the noise: not the base, and not the best model alone. `propose` takes models that cost less, where the whole
beats what could be taken as it is by more than the noise. With a doubt rho every part of the sum may be off by that
share of its length: ||.||^2 has rho^2 sum_i ||a_i ci||^2 added.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear

from xpert.errors import SettingsError
from xpert.records import Combination, Explanation, PoolRecord
from xpert.selecting import position_in
from xpert.space.decomposition import FloatArray

MOST_PARENTS = 3
TEXT_SHARE = 0.5
"""Of the noise that a language model must gain for a person; chosen on people whom no benchmark draws (docs/log.md). Of
models of pictures, whose noise is smaller beside what they bring, it is all."""
LEAST_WEIGHT = 0.05
MOST_WEIGHT = 1.5
"""A model's difference is not stretched farther: beyond, task arithmetic leaves what was trained."""


def combine(
    person: Explanation,
    candidates: Sequence[PoolRecord],
    *,
    most: int = MOST_PARENTS,
    cost: float | None = None,
    fixed: Mapping[str, float | None] | None = None,
    forbidden: Collection[str] = (),
    doubt: float = 0.0,
) -> Combination:
    """The few models whose weighted sum comes nearest to a person; none where the base is as near within the noise.

    All weights at once are solved first (non-negative least squares: few are not 0). Then the model that is missed
    least leaves, until leaving costs more than it saves; then models are exchanged while that helps.

    Args:
        person: cu; or a wish.
        candidates: records with an explanation in the same space.
        most: m.
        cost: what every model must gain in distance; None: the person's noise.
        fixed: models that take part whatever they gain; with a weight, or None: solved.
        forbidden: names of models that take no part.
        doubt: rho; above 0, sums in which large parts cancel each other are shunned.

    Raises:
        SettingsError: `most` is below 1, or more models are fixed; a name is unknown, or fixed and forbidden.
        SpaceError: a candidate is not explained, or in another space.
    """
    held = dict(fixed or {})
    _check(most, held, forbidden, candidates)
    allowed = sorted((r for r in candidates if r.name not in forbidden), key=lambda record: record.name)
    own = np.asarray(person.position)
    rows = np.array([position_in(record, person) for record in allowed]).reshape(len(allowed), len(own))
    names = [record.name for record in allowed]
    lengths = np.array([_length(record) for record in allowed])
    search = _Search(own, rows, names, lengths, held, person.noise if cost is None else cost, doubt)
    found = min(search.starts(most), key=lambda one: (one.price, one.members))
    return _combination({names[i]: w for i, w in zip(found.members, found.weights, strict=True)}, own, names, rows)


def propose(
    person: Explanation,
    candidates: Sequence[PoolRecord],
    *,
    share: float = 1.0,
    most: int = MOST_PARENTS,
    fixed: Mapping[str, float | None] | None = None,
    forbidden: Collection[str] = (),
) -> Combination:
    """`combine` at a share of the cost, where that beats the base and each pLLM as it is by more than the noise.

    Three models that share a person each bring little, and at the full cost some are left out. Where it does not beat
    them, the answer is that of the full cost.

    Args:
        person: cu.
        candidates: records with an explanation in the same space.
        share: of the person's noise, which every model must gain.
        most, fixed, forbidden: as `combine`.

    Raises:
        SettingsError, SpaceError: as `combine`.
    """
    found = combine(person, candidates, most=most, cost=share * person.noise, fixed=fixed, forbidden=forbidden)
    allowed = [record for record in candidates if record.name not in forbidden]
    ready = [combine_at({record.name: 1.0}, person, allowed).distance for record in allowed]
    nearest = min([float(np.linalg.norm(person.position)), *ready])
    if fixed or (len(found.weights) > 1 and found.distance + person.noise < nearest):
        return found
    return combine(person, candidates, most=most, forbidden=forbidden)


def combine_at(weights: Mapping[str, float], person: Explanation, candidates: Sequence[PoolRecord]) -> Combination:
    """What weights that were chosen otherwise are predicted to give.

    Raises:
        SettingsError: a name is unknown.
        SpaceError: a model is not explained, or in another space.
    """
    _known(weights, candidates)
    chosen = sorted((r for r in candidates if r.name in weights), key=lambda record: record.name)
    own = np.asarray(person.position)
    rows = np.array([position_in(record, person) for record in chosen]).reshape(len(chosen), len(own))
    return _combination(dict(weights), own, [record.name for record in chosen], rows)


def _length(record: PoolRecord) -> float:
    """||ci|| along all axes, whatever the person has."""
    assert record.explanation is not None
    return float(np.linalg.norm(record.explanation.position))


@dataclass(frozen=True)
class _Trial:
    """Some models with the weights that are best for them."""

    members: tuple[int, ...]
    weights: tuple[float, ...]
    distance: float
    price: float


@dataclass(frozen=True)
class _Search:
    own: FloatArray
    rows: FloatArray
    names: Sequence[str]
    lengths: FloatArray
    held: Mapping[str, float | None]
    cost: float
    doubt: float

    @property
    def kept(self) -> tuple[int, ...]:
        """Models that are fixed."""
        return tuple(i for i, name in enumerate(self.names) if name in self.held)

    def starts(self, most: int) -> Iterable[_Trial]:
        """The fixed models alone, those and one more, and the sparse solution of all."""
        kept, every = self.kept, range(len(self.names))
        yield self.solve(kept)
        if len(kept) < most:
            yield from self._fitting((*kept, i) for i in every if i not in kept)
            yield from self.sparse(most)

    def sparse(self, most: int) -> Iterable[_Trial]:
        """Backward from the solution of all models, then exchanges; nothing where no set fits."""
        whole = self.solve(tuple(range(len(self.names))))
        members = tuple(i for i, w in zip(whole.members, whole.weights, strict=True) if w > 1e-9 or i in self.kept)
        found: _Trial | None = None
        while len(members) > len(self.kept):
            if len(members) <= most:
                now = next(iter(self._fitting([members])), None)
                if now is not None and (found is None or now.price < found.price):
                    found = now
            leaving = [self.solve(_without(members, i)) for i in members if i not in self.kept]
            members = min(leaving, key=lambda one: (one.distance, one.members)).members
        if found is None:
            return
        while (better := self._exchanged(found)) is not None:
            found = better
        yield found

    def solve(self, members: tuple[int, ...]) -> _Trial:
        """The best weights of a set, from 0 (of fixed models from the least) to the most; a given weight stays."""
        given = {i: w for i in members if (w := self.held.get(self.names[i])) is not None}
        free = [i for i in members if i not in given]
        rest = self.own - sum((w * self.rows[i] for i, w in given.items()), np.zeros_like(self.own))
        solved = np.zeros(0)
        if free:
            least = [LEAST_WEIGHT if i in self.kept else 0.0 for i in free]
            off = np.diag(self.doubt * self.lengths[free])
            parts, aim = np.vstack([self.rows[free].T, off]), np.concatenate([rest, np.zeros(len(free))])
            solved = lsq_linear(parts, aim, bounds=(least, MOST_WEIGHT), method="bvls").x
        weights = given | dict(zip(free, map(float, solved), strict=True))
        offs = self.doubt * self.lengths[list(weights)] * np.array(list(weights.values()))
        distance = float(np.hypot(np.linalg.norm(rest - solved @ self.rows[free]), np.linalg.norm(offs)))
        return _Trial(members, tuple(weights[i] for i in members), distance, distance + self.cost * len(members))

    def _fitting(self, sets: Iterable[tuple[int, ...]]) -> Iterable[_Trial]:
        for members in sets:
            trial = self.solve(tuple(sorted(members)))
            if all(w >= LEAST_WEIGHT for i, w in zip(trial.members, trial.weights, strict=True) if i not in self.kept):
                yield trial

    def _exchanged(self, found: _Trial) -> _Trial | None:
        leaving = [i for i in found.members if i not in self.kept]
        joining = [i for i in range(len(self.names)) if i not in found.members]
        sets = ((*_without(found.members, i), j) for i in leaving for j in joining)
        fewer = (_without(found.members, i) for i in leaving)
        best = min(self._fitting([*sets, *fewer]), key=lambda one: (one.price, one.members), default=found)
        return best if best.price < found.price - 1e-9 else None


def _without(members: tuple[int, ...], one: int) -> tuple[int, ...]:
    return tuple(i for i in members if i != one)


def _combination(weights: Mapping[str, float], own: FloatArray, names: Sequence[str], rows: FloatArray) -> Combination:
    place = sum((w * rows[names.index(name)] for name, w in weights.items()), np.zeros_like(own))
    gap = float(np.linalg.norm(own - place))
    return Combination(
        weights={name: round(weights[name], 6) for name in sorted(weights, key=lambda n: (-weights[n], n))},
        distance=gap,
        gain=float(np.linalg.norm(own)) - gap,
        coordinates=tuple(map(float, place)),
    )


def _check(
    most: int, held: Mapping[str, float | None], forbidden: Collection[str], candidates: Sequence[PoolRecord]
) -> None:
    if most < 1:
        raise SettingsError(f"at most {most} models cannot be merged: give 1 or more")
    if len(held) > most:
        raise SettingsError(f"{len(held)} models are fixed, but at most {most} may be merged: allow more, or fix fewer")
    _known((*held, *forbidden), candidates)
    if both := sorted(set(held) & set(forbidden)):
        raise SettingsError(f"{both[0]!r} is both fixed and forbidden: leave out one of the two")
    for name, weight in held.items():
        if weight is not None and not 0 < weight <= 10:
            raise SettingsError(f"weight {weight!r} of {name!r} is out of range: give a number above 0, up to 10")


def _known(names: Iterable[str], candidates: Sequence[PoolRecord]) -> None:
    known = {record.name for record in candidates}
    for name in names:
        if name not in known:
            raise SettingsError(f"no model {name!r} in the pool: choose from {', '.join(sorted(known)) or 'nothing'}")
