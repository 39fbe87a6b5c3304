"""Which models to merge for a person, and how much of each. Knows explanations only.

a = argmin ||cu - sum_i a_i ci|| with a >= 0 and at most m of them not 0; c are coordinates in the space (paper, section
4.4). Every model must bring the sum nearer by more than the noise, the first one nearer than the base.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import lsq_linear

from xpert.errors import SettingsError, SpaceError
from xpert.records import Combination, Explanation, PoolRecord
from xpert.space.decomposition import FloatArray

MOST_PARENTS = 3
LEAST_WEIGHT = 0.05
MOST_WEIGHT = 1.5
"""A model's difference is not stretched farther than this: beyond, task arithmetic leaves what was trained."""


def combine(
    person: Explanation, candidates: Sequence[PoolRecord], *, most: int = MOST_PARENTS, cost: float | None = None
) -> Combination:
    """The few models whose weighted sum comes nearest to a person; none where the base is as near within the noise.

    Forward selection: the model that brings the sum nearest joins, all weights are solved anew, until the next one
    would gain less than `cost`. Weights lie between 0.05 and 1.5: a set in which one would be smaller is not taken.

    Args:
        person: cu.
        candidates: records with an explanation in the same space.
        most: m.
        cost: what every model must gain in distance; None: the person's noise.

    Raises:
        SettingsError: `most` is below 1.
        SpaceError: a candidate is not explained, or in another space.
    """
    if most < 1:
        raise SettingsError(f"at most {most} models cannot be merged: give 1 or more")
    own = np.asarray(person.position)
    rows = np.array([_position(record, person) for record in candidates]).reshape(len(candidates), len(own))
    price = person.noise if cost is None else cost
    chosen: list[int] = []
    weights, gap = np.zeros(0), float(np.linalg.norm(own))
    while len(chosen) < min(most, len(candidates)):
        sets = [[*chosen, i] for i in range(len(candidates)) if i not in chosen]
        trials = [(*_solved(own, rows[some]), some) for some in sets]
        fit = [trial for trial in trials if (trial[0] >= LEAST_WEIGHT).all() and trial[1] < gap - price]
        if not fit:
            break
        weights, gap, chosen = min(fit, key=lambda trial: (trial[1], candidates[trial[2][-1]].name))
    total = weights @ rows[chosen] if chosen else np.zeros_like(own)
    order = sorted(range(len(chosen)), key=lambda k: (-weights[k], candidates[chosen[k]].name))
    return Combination(
        weights={candidates[chosen[k]].name: round(float(weights[k]), 6) for k in order},
        distance=gap,
        gain=float(np.linalg.norm(own)) - gap,
        coordinates=tuple(map(float, total)),
    )


def _solved(own: FloatArray, rows: FloatArray) -> tuple[FloatArray, float]:
    weights: FloatArray = lsq_linear(rows.T, own, bounds=(0.0, MOST_WEIGHT), method="bvls").x
    return weights, float(np.linalg.norm(own - weights @ rows))


def _position(record: PoolRecord, person: Explanation) -> tuple[float, ...]:
    found = record.explanation
    if found is None or found.digests.space != person.digests.space:
        raise SpaceError(f"pLLM {record.name!r} is not explained in the person's space: run `xpert pool reindex`")
    return found.position
