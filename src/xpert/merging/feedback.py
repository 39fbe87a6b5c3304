"""Weights of a merge, corrected by what the merge turned out to be. Knows explanations and folders.

The coordinates of a merge are predicted as sum_i a_i ci. Where models act on the same layers they come out otherwise:
one drowns the other. So the merge is measured, and its weights move by a Gauss-Newton step on the same models, so that
its explanation says what the person's does:

    a' = argmin ||J a' - (J a + su - s(a))||, within the bounds of the plan.

s are the coefficients of the words, those of two contraries as one number with a sign; where the person's are all 0, as
of a wish for less of a word that has no contrary, s are the coordinates. A wish may lie farther than any
sum of models, so of a wish only the kind is sought: su is made as long as s(a) reaches in its direction. J (words,
models) are at first the models' own; after every measurement it learns what the step really did (Broyden, A class of
methods for solving nonlinear simultaneous equations, Mathematics of Computation 19, 1965). Of all that was measured,
what is nearest in kind is kept: kinds are compared by direction.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import lsq_linear

from xpert.errors import SettingsError
from xpert.merging.weights import LEAST_WEIGHT, MOST_WEIGHT, combine_at
from xpert.records import Combination, Explanation, MeasuredCombination, PoolRecord
from xpert.space.decomposition import FloatArray
from xpert.space.distance import gap

ROUNDS = 2
Opposites = Sequence[tuple[int, int]]
Measure = Callable[[Mapping[str, float]], Explanation]
View = Callable[[Explanation], FloatArray]
NOTHING = 1e-6
"""Shorter is no direction."""


def settle(
    plan: Combination,
    person: Explanation,
    candidates: Sequence[PoolRecord],
    measure: Measure,
    *,
    wished: bool = False,
    opposites: Opposites = (),
    fixed: Mapping[str, float | None] | None = None,
    rounds: int = ROUNDS,
) -> MeasuredCombination:
    """Measure a planned merge, and correct its weights while that brings its words nearer to the person's.

    Args:
        plan: models and weights to begin with, of `combine`.
        person: cu; or a wish.
        candidates: records that the plan was made from.
        measure: merges with these weights and explains the result, in the person's space.
        wished: the person is a wish, of which only the kind is sought.
        opposites: pairs of words that are poles of one axis, as a space has them.
        fixed: a model that has a weight here keeps it.
        rounds: corrections, at most; 0 only measures.

    Returns:
        The nearest of all weights that were measured, with its explanation.

    Raises:
        SettingsError: the plan names no models, or `rounds` is negative.
    """
    if not plan.weights:
        raise SettingsError("nothing is planned to be merged: start from the base")
    if rounds < 0:
        raise SettingsError(f"{rounds} corrections cannot be made: give 0 or more")
    view = _view(person, opposites)
    names, own = list(plan.weights), view(person)
    words = {r.name: view(r.explanation) for r in candidates if r.name in plan.weights and r.explanation is not None}
    slope, weights = np.array([words[name] for name in names]).T, np.array(list(plan.weights.values()))
    limits = np.maximum(MOST_WEIGHT, weights)
    free = np.array([(fixed or {}).get(name) is None for name in names])
    best = found = _measured(plan, person, measure, view)
    for _ in range(rounds):
        here = view(found.measured)
        aim = _aim(own, here) if wished else own
        step = np.zeros_like(weights)
        step[free] = _corrected(slope[:, free], weights[free], aim - here, limits[free]) - weights[free]
        if np.abs(step).max(initial=0.0) < 1e-3:
            break
        weights = weights + step
        plan = combine_at(dict(zip(names, map(float, weights), strict=True)), person, candidates)
        found = _measured(plan, person, measure, view)
        change = view(found.measured) - here
        best = min(best, found, key=lambda one: one.missing)
        slope = slope + np.outer(change - slope @ step, step) / (step @ step)
    return best


def measure_in_folder(
    write: Callable[[Mapping[str, float], Path], object], explain: Callable[[Path], Explanation]
) -> Measure:
    """A measurement that merges into a folder which is gone afterwards.

    Args:
        write: merges with these weights into this folder.
        explain: what the folder then holds.
    """

    def measure(weights: Mapping[str, float]) -> Explanation:
        with tempfile.TemporaryDirectory(prefix="xpert-merge-") as folder:
            write(weights, Path(folder) / "merged")
            return explain(Path(folder) / "merged")

    return measure


def _measured(plan: Combination, person: Explanation, measure: Measure, view: View) -> MeasuredCombination:
    measured, own = measure(plan.weights), np.asarray(person.position)
    return MeasuredCombination(
        plan=plan,
        measured=measured,
        distance=gap(own, np.asarray(measured.position)[: len(own)]),
        missing=_missing(view(person), view(measured), person.noise),
    )


def _missing(own: FloatArray, place: FloatArray, noise: float) -> float:
    """1 - cosine, as if the noise stood at a right angle to what was measured: what is within it has no direction."""
    length = float(np.linalg.norm(own) * np.hypot(np.linalg.norm(place), noise))
    return 1.0 - float(own @ place) / length if length > 0 else 1.0


def _corrected(slope: FloatArray, weights: FloatArray, missing: FloatArray, limits: FloatArray) -> FloatArray:
    if not len(weights):
        return weights
    aim = slope @ weights + missing
    solved: FloatArray = lsq_linear(slope, aim, bounds=(LEAST_WEIGHT, limits), method="bvls").x
    return solved


def _aim(own: FloatArray, here: FloatArray) -> FloatArray:
    """What a wish is taken for: its direction, as far as `here` reaches in it."""
    length = float(own @ own)
    return own * max(0.0, float(own @ here) / length) if length > 0 else here


def _view(person: Explanation, opposites: Opposites) -> View:
    """What models are compared by: signed words; coordinates where those of the person are all 0.

    Less of a word that has no contrary is such a point: a coefficient is never negative.
    """
    if np.linalg.norm(_signed(person, opposites)) >= NOTHING:
        return lambda explanation: _signed(explanation, opposites)
    count = len(person.position)
    return lambda explanation: np.asarray(explanation.position, dtype=np.float64)[:count]


def _signed(explanation: Explanation, opposites: Opposites) -> FloatArray:
    """Coefficients (k,) in which the second of two contraries counts against the first."""
    z = np.array(explanation.coefficients, dtype=np.float64)
    for one, other in opposites:
        z[one], z[other] = z[one] - z[other], 0.0
    return z
