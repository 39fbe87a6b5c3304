"""A merge that comes out otherwise than predicted is corrected by what was measured; the nearest is kept."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from xpert.errors import SettingsError
from xpert.merging.feedback import measure_in_folder, settle
from xpert.merging.weights import combine
from xpert.records import Digests, Explanation, PoolRecord, WordCoefficient

WORDS = ("bright", "golden", "green")
MODELS = {"bright": (1.0, 0.0, 0.1), "golden": (0.0, 1.0, 0.1)}


def explained(z: np.ndarray) -> Explanation:
    return Explanation(
        words=tuple(
            WordCoefficient(word=word, coefficient=float(c), low=float(c), high=float(c), floor=0.05)
            for word, c in zip(WORDS, z, strict=True)
        ),
        residual=0.0,
        pairs=10,
        noise=0.05,
        interval=0.95,
        digests=Digests(base="b", summarizer="s", prompts="p", space="z"),
    )


POOL = [
    PoolRecord(
        name=name,
        adapter=name.ljust(64, "0"),
        base="b",
        base_name="b",
        rank=4,
        target_modules=(),
        size_bytes=1,
        created="",
        explanation=explained(np.array(z)),
    )
    for name, z in MODELS.items()
]
PERSON = explained(np.array([0.8, 0.7, 0.15]))


class Drowning:
    """A world in which the golden model takes half of what the bright one gives."""

    def __init__(self, share: float = 0.5) -> None:
        self.share, self.asked = share, list[dict[str, float]]()

    def __call__(self, weights: Mapping[str, float]) -> Explanation:
        self.asked.append(dict(weights))
        bright, golden = weights["bright"], weights["golden"]
        return explained(np.array([bright * (1 - self.share * min(1.0, golden)), golden, 0.1 * (bright + golden)]))


def test_what_is_drowned_gets_a_larger_weight() -> None:
    plan, world = combine(PERSON, POOL), Drowning()
    found = settle(plan, PERSON, POOL, world)
    assert [word.word for word in settle(plan, PERSON, POOL, Drowning(), rounds=0).measured.strongest(1)] == ["golden"]
    assert [word.word for word in found.measured.strongest(2)] == ["bright", "golden"]
    assert found.plan.weights["bright"] > 1.1 > 0.9 > found.plan.weights["golden"]
    assert len(world.asked) == 3
    assert found.missing < 0.3 * settle(plan, PERSON, POOL, Drowning(), rounds=0).missing
    assert found.plan.weights in [{k: round(v, 6) for k, v in asked.items()} for asked in world.asked]


def test_a_merge_that_comes_out_as_predicted_is_measured_once() -> None:
    world = Drowning(share=0.0)
    found = settle(combine(PERSON, POOL), PERSON, POOL, world)
    assert len(world.asked) == 1
    assert found.distance == pytest.approx(found.plan.distance, abs=1e-6)


def test_a_fixed_weight_stays_and_a_stretched_one_is_not_cut() -> None:
    plan, world = combine(PERSON, POOL), Drowning()
    found = settle(plan, PERSON, POOL, world, fixed={"golden": plan.weights["golden"]})
    assert {asked["golden"] for asked in world.asked} == {plan.weights["golden"]}
    assert found.plan.weights["bright"] > plan.weights["bright"]
    stretched = plan.model_copy(update={"weights": {"bright": 2.0, "golden": 0.7}})
    world = Drowning(share=0.8)
    settle(stretched, explained(np.array([2.0, 0.7, 0.27])), POOL, world)
    assert {asked["bright"] for asked in world.asked} == {2.0}


def test_a_correction_that_makes_it_worse_is_not_kept() -> None:
    plan = combine(PERSON, POOL)

    def stubborn(weights: Mapping[str, float]) -> Explanation:
        first = weights["bright"] == plan.weights["bright"]
        return explained(np.array([0.5, 0.7, 0.2]) if first else np.array([0.1, 0.7, 0.2]))

    assert settle(plan, PERSON, POOL, stubborn).plan == plan


def test_the_folder_of_a_measurement_is_gone_afterwards() -> None:
    seen: list[Path] = []

    def write(weights: Mapping[str, float], folder: Path) -> None:
        folder.mkdir()
        (folder / "weights").write_text(str(weights["bright"]))

    def explain(folder: Path) -> Explanation:
        seen.append(folder)
        return explained(np.array([float((folder / "weights").read_text()), 0.0, 0.0]))

    assert measure_in_folder(write, explain)({"bright": 0.5}).coefficients == (0.5, 0.0, 0.0)
    assert not seen[0].exists() and not seen[0].parent.exists()


def test_nothing_planned_and_negative_rounds_are_refused() -> None:
    plan = combine(PERSON, POOL)
    with pytest.raises(SettingsError, match="nothing is planned"):
        settle(plan.model_copy(update={"weights": {}}), PERSON, POOL, Drowning())
    with pytest.raises(SettingsError, match="0 or more"):
        settle(plan, PERSON, POOL, Drowning(), rounds=-1)


def test_less_of_a_word_that_has_no_contrary_is_settled_by_coordinates() -> None:
    """No coefficient is negative, so a wish for less of such a word has none, and once ended in ZeroDivisionError."""

    def placed(x: float, y: float) -> Explanation:
        shown = explained(np.maximum([x, y, 0.0], 0.0))
        return shown.model_copy(update={"coordinates": (x, y)})

    pool = [
        record.model_copy(update={"explanation": placed(*place)})
        for record, place in zip(POOL, ((-1.0, 0.2), (0.0, -1.0)), strict=True)
    ]
    wished = placed(-0.8, 0.0)
    assert not any(wished.coefficients)

    def measure(weights: Mapping[str, float]) -> Explanation:
        return placed(-weights["bright"], 0.2 * weights["bright"] - 0.5 * weights["golden"])

    plan = combine(wished, pool, cost=0.0)
    first = settle(plan, wished, pool, measure, wished=True, rounds=0)
    found = settle(plan, wished, pool, measure, wished=True)
    assert found.measured.coordinates[0] < -0.5
    assert found.missing < first.missing
