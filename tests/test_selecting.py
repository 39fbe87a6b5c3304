"""Nearest, ranked, with a margin; the base where nothing is nearer than the noise."""

from collections.abc import Sequence

import pytest

from xpert.errors import SpaceError
from xpert.records import Digests, Explanation, PoolRecord, WordCoefficient
from xpert.selecting import select

WORDS = ("expert", "humorous", "concise")


def explained(z: Sequence[float], *, noise: float = 0.1, space: str = "s") -> Explanation:
    return Explanation(
        words=tuple(
            WordCoefficient(word=w, coefficient=c, low=c - 0.1, high=c + 0.1, floor=noise)
            for w, c in zip(WORDS, z, strict=True)
        ),
        residual=0.2,
        pairs=50,
        noise=noise,
        interval=0.95,
        digests=Digests(base="b", summarizer="m", prompts="p", space=space),
    )


def record(name: str, z: Sequence[float] | None, **kwargs: object) -> PoolRecord:
    return PoolRecord(
        name=name,
        adapter=name,
        base="b",
        base_name="base",
        rank=8,
        target_modules=("q_proj",),
        size_bytes=1,
        created="2026-01-01T00:00:00Z",
        explanation=None if z is None else explained(z, **kwargs),  # type: ignore[arg-type]
    )


def test_the_nearest_in_kind_is_chosen_even_when_it_is_weak() -> None:
    person = explained([1.0, 0.1, 0.6])
    found = select(person, [record("weak", [0.3, 0.03, 0.18]), record("strong", [0.9, 0.9, 0.1])])
    assert found.choice == "weak"
    assert [r.name for r in found.ranking] == ["weak", "strong"]
    assert found.margin == pytest.approx(found.ranking[1].distance - found.ranking[0].distance)
    assert "expert and concise" in found.reason


def test_an_axis_on_which_candidates_hardly_differ_still_has_a_voice() -> None:
    person = explained([1.0, 0.22, -0.08])
    pool = [record("a", [1.0, 0.3, 0.1]), record("b", [1.0, 0.0, -0.1]), record("c", [1.0, -0.3, 0.1])]
    assert select(person, pool[:2]).choice == "a"  # plain cosine: too few to know a spread
    assert select(person, pool).choice == "b"
    weak = [record("a", [0.5, 0.15, 0.05]), *pool[1:]]
    assert [r.distance for r in select(person, weak).ranking] == pytest.approx(
        [r.distance for r in select(person, pool).ranking]
    )


def test_a_person_like_the_base_starts_from_the_base() -> None:
    found = select(explained([0.03, 0.02, 0.04]), [record("a", [0.9, 0, 0]), record("b", [0, 0.9, 0])])
    assert found.choice is None
    assert "start from the base" in found.reason


def test_a_pool_that_points_away_is_refused() -> None:
    found = select(explained([0.0, 0.0, 0.9]), [record("a", [0.9, 0, 0.0]), record("b", [0.1, 0.9, 0])])
    assert found.choice is None
    assert found.ranking[0].gain < found.noise


def test_an_empty_pool_says_so() -> None:
    found = select(explained([1.0, 0, 0]), [])
    assert (found.choice, found.ranking, found.margin) == (None, (), 0.0)
    assert "empty" in found.reason


def test_equal_candidates_come_in_the_order_of_their_names() -> None:
    person = explained([1.0, 0, 0])
    found = select(person, [record("zed", [0.9, 0, 0]), record("amy", [0.9, 0, 0])])
    assert [r.name for r in found.ranking] == ["amy", "zed"]


def test_candidates_of_another_space_or_without_explanation_are_named() -> None:
    person = explained([1.0, 0, 0])
    with pytest.raises(SpaceError, match=r"'old'.*xpert pool reindex"):
        select(person, [record("old", [0.5, 0, 0], space="t")])
    with pytest.raises(SpaceError, match=r"'bare' is not explained"):
        select(person, [record("bare", None)])
