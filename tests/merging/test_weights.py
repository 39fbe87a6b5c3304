"""Weights of a merge: a planted mixture comes back, sparse, and a merge is proposed only where it is worth it."""

import numpy as np
import pytest

from xpert.errors import SettingsError, SpaceError
from xpert.merging.weights import combine, combine_at, propose
from xpert.records import Digests, Explanation, PoolRecord

DIGESTS = Digests(base="b", summarizer="s", prompts="p", space="z")


def explanation(position: np.ndarray, noise: float = 0.05, space: str = "z") -> Explanation:
    return Explanation(
        words=(), residual=0.0, pairs=10, noise=noise, coordinates=tuple(map(float, position)), interval=0.95,
        digests=DIGESTS.model_copy(update={"space": space}),
    )  # fmt: skip


def record(name: str, found: Explanation | None) -> PoolRecord:
    return PoolRecord(
        name=name, adapter=name.ljust(64, "0"), base="b", base_name="b", rank=4, target_modules=(), size_bytes=1,
        created="", explanation=found,
    )  # fmt: skip


AXES = np.random.default_rng(0).normal(size=(6, 8))
AXES /= np.linalg.norm(AXES, axis=1, keepdims=True)
POOL = [record(f"m{n}", explanation(axis)) for n, axis in enumerate(AXES)]


def test_a_planted_mixture_comes_back() -> None:
    found = combine(explanation(0.7 * AXES[1] + 0.4 * AXES[4]), POOL)
    assert list(found.weights) == ["m1", "m4"]
    assert list(found.weights.values()) == pytest.approx([0.7, 0.4], abs=1e-5)
    assert found.distance == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(found.coordinates, 0.7 * AXES[1] + 0.4 * AXES[4], atol=1e-5)


def test_a_model_must_gain_more_than_it_costs() -> None:
    person = explanation(AXES[1] + 0.1 * AXES[4], noise=0.3)
    assert list(combine(person, POOL).weights) == ["m1"]
    assert len(combine(person, POOL, cost=0.0).weights) > 1
    assert len(combine(explanation(AXES[:5].sum(0), noise=0.01), POOL, most=2).weights) == 2


def test_whoever_is_the_base_within_the_noise_gets_nothing() -> None:
    weak = explanation(0.2 * AXES[1], noise=0.5)
    assert combine(weak, POOL).weights == {}
    assert list(combine(explanation(0.2 * AXES[1], noise=0.1), POOL).weights) == ["m1"]


def test_weights_stay_within_their_bounds() -> None:
    far = combine(explanation(4.0 * AXES[1] + 0.03 * AXES[4], noise=0.001), POOL)
    assert max(far.weights.values()) <= 1.5 and min(far.weights.values()) >= 0.05


def test_whoever_nothing_points_to_gets_nothing() -> None:
    opposite = explanation(-AXES.sum(0))
    alone = combine(opposite, [record("m0", explanation(AXES.sum(0)))])
    assert alone.weights == {} and alone.gain == 0.0
    assert combine(opposite, []).weights == {}


def test_the_order_of_the_pool_does_not_matter() -> None:
    person = explanation(0.5 * AXES[0] + 0.5 * AXES[2] + 0.3 * AXES[3], noise=0.01)
    assert combine(person, POOL) == combine(person, POOL[::-1])


def test_what_does_not_compare_is_refused() -> None:
    with pytest.raises(SettingsError, match="give 1 or more"):
        combine(explanation(AXES[0]), POOL, most=0)
    with pytest.raises(SpaceError, match="'x' is not explained: run"):
        combine(explanation(AXES[0]), [record("x", None)])
    with pytest.raises(SpaceError, match="the person in"):
        combine(explanation(AXES[0]), [record("x", explanation(AXES[0], space="other"))])


def test_two_models_that_only_together_come_near_are_found() -> None:
    pool = [record("up", explanation(AXES[0] + AXES[1])), record("down", explanation(AXES[0] - AXES[1]))]
    assert combine(explanation(AXES[0]), pool).weights == pytest.approx({"down": 0.5, "up": 0.5})


def test_models_can_be_fixed_and_forbidden() -> None:
    person = explanation(0.7 * AXES[1] + 0.4 * AXES[4])
    assert "m1" not in combine(person, POOL, forbidden=["m1"]).weights
    with_another = combine(person, POOL, fixed={"m0": 0.3}).weights
    assert with_another["m0"] == 0.3 and len(with_another) >= 2
    assert combine(person, POOL, fixed={"m1": None}, most=1).weights == pytest.approx(
        combine(person, [POOL[1]], cost=0.0).weights
    )


def test_a_fixed_model_takes_part() -> None:
    assert combine(explanation(AXES[1]), POOL, fixed={"m5": None}).weights["m5"] >= 0.05


def test_no_part_of_a_merge_is_as_good_as_the_whole() -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        person = explanation(rng.normal(size=8) * 0.6, noise=0.08)
        found = combine(person, POOL)
        for name in found.weights:
            part = combine(person, [r for r in POOL if r.name in set(found.weights) - {name}])
            assert part.distance >= found.distance + 0.08 - 1e-9


def test_three_that_bring_little_each_are_proposed_where_together_they_beat_what_is_ready() -> None:
    person = explanation(0.5 * AXES[0] + 0.35 * AXES[2] + 0.3 * AXES[5], noise=0.35)
    assert 0 < len(combine(person, POOL).weights) < 3
    assert set(propose(person, POOL, share=0.25).weights) == {"m0", "m2", "m5"}
    assert propose(person, POOL) == combine(person, POOL)
    assert set(propose(person, POOL, share=0.25, forbidden=["m2"]).weights) <= set("m0 m1 m3 m4 m5".split())


def test_whoever_one_model_fits_as_it_is_gets_no_sum_for_a_trifle() -> None:
    person = explanation(AXES[1] + 0.2 * AXES[4], noise=0.25)
    assert len(combine(person, POOL, cost=0.25 * 0.25).weights) > 1
    assert propose(person, POOL, share=0.25) == combine(person, POOL)
    assert list(propose(person, POOL, share=0.25).weights) == ["m1"]


def test_what_is_predicted_of_given_weights() -> None:
    person = explanation(0.7 * AXES[1] + 0.4 * AXES[4])
    found = combine_at({"m4": 0.4, "m1": 0.7}, person, POOL)
    assert list(found.weights) == ["m1", "m4"] and found.distance == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"forbidden": ["nobody"]}, "no model 'nobody'"),
        ({"fixed": {"m1": None}, "forbidden": ["m1"]}, "both fixed and forbidden"),
        ({"fixed": {"m1": -1.0}}, "out of range"),
        ({"fixed": {"m1": None, "m2": None}, "most": 1}, "at most 1"),
    ],
)
def test_constraints_that_make_no_sense_are_refused(options: dict, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        combine(explanation(AXES[1]), POOL, **options)
