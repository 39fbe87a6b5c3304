"""Mixed data has exactly the share that was asked for, invents no row, and follows its seed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpert.data import mix
from xpert.errors import SettingsError
from xpert.records import Sample

SHARES = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)
SIDES = st.integers(0, 40)


def rows(kind: str, count: int) -> list[Sample]:
    return [Sample(f"{kind} {number}", kind) for number in range(count)]


def stylistic_of(mixed: list[Sample]) -> list[Sample]:
    return [sample for sample in mixed if sample.response == "style"]


def half_up(similarity: float, count: int) -> int:
    return int((Decimal(repr(similarity)) * count).quantize(Decimal(1), ROUND_HALF_UP))


@given(SHARES, st.integers(1, 60), st.integers())
def test_the_share_is_exact_and_no_row_is_invented_or_doubled(similarity: float, count: int, seed: int) -> None:
    style, default = rows("style", 60), rows("default", 60)
    mixed = mix(style, default, similarity=similarity, count=count, seed=seed)
    assert len(mixed) == count
    assert len(stylistic_of(mixed)) == half_up(similarity, count)
    assert not Counter(mixed) - Counter([*style, *default])
    assert (style, default) == (rows("style", 60), rows("default", 60)), "what was given stays as it was"


@given(SHARES, st.integers(1, 30), st.integers(1, 30), st.integers())
def test_rows_that_occur_twice_are_drawn_at_most_twice(similarity: float, few: int, count: int, seed: int) -> None:
    style, default = [Sample("p", "style")] * 30, [Sample(f"p{n % few}", "default") for n in range(30)]
    mixed = mix(style, default, similarity=similarity, count=count, seed=seed)
    assert not Counter(mixed) - Counter([*style, *default])


@given(SHARES, SIDES, SIDES, st.integers(0, 5))
def test_without_a_count_the_largest_is_taken(similarity: float, style: int, default: int, seed: int) -> None:
    fitting = [
        count
        for count in range(1, style + default + 1)
        if half_up(similarity, count) <= style and count - half_up(similarity, count) <= default
    ]
    sides = rows("style", style), rows("default", default)
    if fitting:
        assert len(mix(*sides, similarity=similarity, seed=seed)) == max(fitting)
    else:
        with pytest.raises(SettingsError, match="no row can be drawn at similarity"):
            mix(*sides, similarity=similarity, seed=seed)


@given(SHARES, st.integers(0, 1000))
def test_a_seed_decides_the_rows_and_their_order(similarity: float, seed: int) -> None:
    def once(with_seed: int) -> list[Sample]:
        return mix(rows("style", 40), rows("default", 40), similarity=similarity, count=30, seed=with_seed)

    assert once(seed) == once(seed)
    assert once(seed) != once(seed + 1)


@pytest.mark.parametrize(
    ("similarity", "count", "stylistic"), [(0.7, 5, 4), (0.3, 5, 2), (0.145, 100, 15), (0.5, 1, 1)]
)
def test_halves_are_rounded_up(similarity: float, count: int, stylistic: int) -> None:
    mixed = mix(rows("style", 100), rows("default", 100), similarity=similarity, count=count, seed=0)
    assert len(stylistic_of(mixed)) == stylistic


def test_the_ends_take_one_side_whole() -> None:
    style, default = rows("style", 7), rows("default", 9)
    assert Counter(mix(style, default, similarity=1, seed=3)) == Counter(style)
    assert Counter(mix(style, default, similarity=0, seed=3)) == Counter(default)
    assert Counter(mix(style, [], similarity=1.0, seed=3)) == Counter(style)


def test_kinds_are_shuffled_together() -> None:
    kinds = [s.response for s in mix(rows("style", 50), rows("default", 50), similarity=0.5, seed=0)]
    assert kinds != sorted(kinds)
    assert kinds != sorted(kinds, reverse=True)


def test_a_higher_similarity_keeps_the_stylistic_rows_of_a_lower_one() -> None:
    low, high = (
        set(stylistic_of(mix(rows("style", 50), rows("default", 50), similarity=share, count=40, seed=1)))
        for share in (0.3, 0.7)
    )
    assert low < high


def test_the_hash_seed_has_no_say() -> None:
    code = (
        "from xpert.data import mix, split_samples; from xpert.records import Sample;"
        "a = [Sample(f'a{i}', 'a') for i in range(30)]; b = [Sample(f'b{i}', 'b') for i in range(30)];"
        "m = mix(a, b, similarity=0.6, count=20, seed=5); print(m, split_samples(m, validation=5, seed=5))"
    )
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    )
    assert first == second
    assert "Sample" in first


@pytest.mark.parametrize("similarity", [-0.1, 1.001, float("nan"), float("inf")])
def test_similarity_out_of_range(similarity: float) -> None:
    with pytest.raises(SettingsError) as caught:
        mix(rows("style", 3), rows("default", 3), similarity=similarity, seed=0)
    assert str(caught.value) == f"similarity is {similarity}: it is the share of stylistic rows, from 0 to 1"


@pytest.mark.parametrize("count", [0, -3])
def test_count_out_of_range(count: int) -> None:
    with pytest.raises(SettingsError, match=f"count is {count}: at least one row must be drawn, or None"):
        mix(rows("style", 3), rows("default", 3), similarity=0.5, count=count, seed=0)


def test_too_few_rows_names_the_side_and_the_largest_count() -> None:
    with pytest.raises(SettingsError) as caught:
        mix(rows("style", 9), rows("default", 20), similarity=0.9, count=20, seed=0)
    assert str(caught.value) == (
        "similarity 0.9 of 20 rows needs 18 stylistic rows, there are 9: give more stylistic rows, or a count of at "
        "most 10"
    )
    with pytest.raises(SettingsError, match="needs 15 default rows, there are 4: give more default rows"):
        mix(rows("style", 9), rows("default", 4), similarity=0.25, count=20, seed=0)
