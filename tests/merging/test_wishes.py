"""A wish is a point in the space: words alone, or a person's own point moved; what it cannot be is refused."""

from dataclasses import replace

import numpy as np
import pytest

from xpert.errors import SettingsError, SpaceError
from xpert.explaining import explain_embeddings
from xpert.merging.weights import combine
from xpert.merging.wishes import WISH, grant, predicted, predicted_words, wish
from xpert.records import Explanation, PoolRecord
from xpert.selecting import select
from xpert.space.basis import Space

RNG = np.random.default_rng(3)
DIRECTIONS = np.linalg.qr(RNG.normal(size=(12, 5)))[0].T
VECTORS = np.array([DIRECTIONS[0], -DIRECTIONS[0], DIRECTIONS[1], DIRECTIONS[2]])
WORDS = ("expert", "elementary", "humorous", "concise")
ORIGIN = RNG.normal(size=12)
SPACE = Space(
    words=WORDS,
    vectors=VECTORS,
    origin=ORIGIN,
    null=ORIGIN + 0.05 * RNG.normal(size=(60, 12)),
    scale=1.0,
    summarizer="s",
    base="b",
    prompts="p",
).with_axes(ORIGIN + 2 * DIRECTIONS)


def explained(*parts: tuple[int, float]) -> Explanation:
    mean = ORIGIN + sum(size * DIRECTIONS[axis] for axis, size in parts)
    rows = mean + 0.01 * np.random.default_rng(1).normal(size=(20, 12))
    return explain_embeddings(rows, SPACE, prompts="p")


def record(name: str, *parts: tuple[int, float]) -> PoolRecord:
    return PoolRecord(
        name=name, adapter=name.ljust(64, "0"), base="b", base_name="b", rank=4, target_modules=(), size_bytes=1,
        created="", explanation=explained(*parts),
    )  # fmt: skip


POOL = [
    record("plain-funny", (0, -1.0), (1, 0.8), (3, 2.0)),
    record("learned-funny", (0, 1.0), (1, 0.8), (4, 2.0)),
    record("learned-brief", (0, 0.9), (2, 0.7)),
]


def test_a_wish_has_the_words_that_were_asked_for() -> None:
    found = wish({"expert": 0.8, "concise": 0.5}, SPACE)
    assert dict(zip(WORDS, found.coefficients, strict=True)) == pytest.approx(
        {"expert": 0.8, "elementary": 0.0, "humorous": 0.0, "concise": 0.5}, abs=1e-9
    )
    assert len(found.coordinates) == SPACE.word_axes == 3
    assert found.digests.prompts == WISH and found.digests.space == SPACE.digest
    assert 0 < found.noise < 0.1


def test_less_of_a_word_is_more_of_its_opposite() -> None:
    assert wish({"elementary": -0.6}, SPACE).coordinates == pytest.approx(wish({"expert": 0.6}, SPACE).coordinates)


def test_a_wish_finds_a_model_or_a_merge_and_does_not_care_for_what_no_word_says() -> None:
    one = combine(wish({"expert": 0.9, "concise": 0.7}, SPACE), POOL)
    assert one.weights == pytest.approx({"learned-brief": 1.0}, abs=0.03)
    assert select(wish({"expert": 0.9, "concise": 0.7}, SPACE), POOL).choice == "learned-brief"
    two = grant(wish({"humorous": 1.0}, SPACE), POOL)
    assert set(two.weights) == {"plain-funny", "learned-funny"}
    words = predicted(two, SPACE)
    assert next(iter(words)) == "humorous"
    assert 0.4 < words["humorous"] < combine(wish({"humorous": 1.0}, SPACE), POOL).gain + 0.05


def test_several_models_must_beat_the_best_one_by_more_than_the_noise() -> None:
    wished = wish({"expert": 0.9, "concise": 0.7, "humorous": 0.02}, SPACE)
    assert list(grant(wished, POOL).weights) == ["learned-brief"]
    assert len(grant(wished, POOL, fixed={"learned-funny": 0.1}).weights) > 1


def test_doubt_shuns_sums_of_large_parts_that_cancel() -> None:
    far = [record("up", (0, 3.0), (1, 0.5)), record("down", (0, -3.0), (1, 0.5)), record("weak", (0, 0.3), (1, 0.4))]
    wished = wish({"humorous": 0.8}, SPACE)
    assert set(combine(wished, far, cost=0.0).weights) >= {"up", "down"}
    assert "up" not in combine(wished, far, cost=0.0, doubt=0.4).weights


def test_a_persons_point_is_moved_and_the_rest_of_it_stays() -> None:
    person = explained((0, -0.5), (1, 0.4), (3, 1.0))
    moved = wish({"expert": 0.8}, SPACE, person)
    z = dict(zip(WORDS, moved.coefficients, strict=True))
    assert z == pytest.approx({"expert": 0.8, "elementary": 0.0, "humorous": 0.4, "concise": 0.0}, abs=0.02)
    assert len(moved.coordinates) == len(person.coordinates)
    beyond = slice(SPACE.word_axes, None)
    assert moved.coordinates[beyond] == pytest.approx(person.coordinates[beyond])
    assert moved.pairs == person.pairs


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, "nothing is wished for"),
        ({"purple": 1.0}, "no word 'purple': choose from expert, elementary, humorous, concise"),
        ({"expert": 7.0}, "out of range"),
        ({"expert": float("nan")}, "out of range"),
        ({"expert": 0.5, "elementary": 0.5}, "cancel each other"),
    ],
)
def test_what_cannot_be_wished_is_refused(wanted: dict[str, float], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        wish(wanted, SPACE)


def test_a_person_or_a_point_of_another_space_is_refused() -> None:
    person = explained((0, 1.0))
    strange = person.model_copy(update={"digests": person.digests.model_copy(update={"space": "other"})})
    with pytest.raises(SpaceError, match="explain the person again"):
        wish({"expert": 1.0}, SPACE, strange)
    with pytest.raises(SpaceError, match="9 coordinates"):
        predicted_words([0.0] * 9, SPACE)


def test_a_space_without_words_is_told_of() -> None:
    bare = replace(SPACE, words=(), vectors=np.zeros((0, 12)), axes=None)
    for wanted in ({}, {"expert": 0.8}):
        with pytest.raises(SettingsError, match="has no words, so nothing can be wished for"):
            wish(wanted, bare)
