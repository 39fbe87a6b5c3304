"""A split leaks no prompt, loses no row and follows its seed."""

from __future__ import annotations

from collections import Counter
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpert.data import split_samples
from xpert.errors import SettingsError
from xpert.records import Sample

PROMPTS = st.one_of(st.none(), st.sampled_from("abcdef"))
SAMPLES = st.lists(st.builds(Sample, PROMPTS, st.text("xyz", max_size=3)), min_size=2, max_size=40)
VALIDATIONS = st.one_of(st.integers(1, 39), st.integers(1, 99).map(lambda percent: percent / 100))


def half_up(share: float, count: int) -> int:
    return int((Decimal(repr(share)) * count).quantize(Decimal(1), ROUND_HALF_UP))


def numbered(count: int) -> list[Sample]:
    return [Sample(f"prompt {number}", f"text {number}") for number in range(count)]


@given(SAMPLES, VALIDATIONS, st.integers())
def test_no_row_is_lost_and_no_prompt_is_on_both_sides(samples: list[Sample], validation: float, seed: int) -> None:
    before = list(samples)
    wanted = validation if isinstance(validation, int) else half_up(validation, len(samples))
    independent = sum(s.prompt is None for s in samples) + len({s.prompt for s in samples} - {None})
    if not 0 < wanted < len(samples) or independent < 2:
        with pytest.raises(SettingsError, match="empty"):
            split_samples(samples, validation=validation, seed=seed)
        return
    train, held_out = split_samples(samples, validation=validation, seed=seed)
    assert train
    assert held_out
    assert Counter(train) + Counter(held_out) == Counter(samples)
    assert not ({s.prompt for s in train} & {s.prompt for s in held_out}) - {None}
    assert samples == before
    assert (train, held_out) == split_samples(samples, validation=validation, seed=seed)


@given(st.integers(2, 60), st.data(), st.integers())
def test_rows_of_their_own_prompts_split_exactly(count: int, data: st.DataObject, seed: int) -> None:
    validation = data.draw(st.integers(1, count - 1))
    samples = numbered(count)
    train, held_out = split_samples(samples, validation=validation, seed=seed)
    assert len(held_out) == validation
    assert train == [s for s in samples if s in train], "the order is kept"
    assert held_out == [s for s in samples if s in held_out]


@pytest.mark.parametrize(("validation", "rows"), [(0.1, 2), (0.125, 3), (0.9, 18), (1, 1), (19, 19)])
def test_shares_and_counts(validation: float, rows: int) -> None:
    assert len(split_samples(numbered(20), validation=validation, seed=0)[1]) == rows


def test_seeds_draw_different_rows() -> None:
    drawn = {tuple(split_samples(numbered(50), validation=10, seed=seed)[1]) for seed in range(5)}
    assert len(drawn) == 5


def test_rows_without_prompt_are_independent() -> None:
    samples = [Sample(None, f"text {number}") for number in range(10)]
    train, held_out = split_samples(samples, validation=3, seed=0)
    assert (len(train), len(held_out)) == (7, 3)


def test_prompts_that_differ_in_case_or_spaces_stay_together() -> None:
    samples = [Sample("Who are you?", "a"), Sample(" who  ARE you?\n", "b"), *numbered(2)]
    for seed in range(10):
        train, held_out = split_samples(samples, validation=2, seed=seed)
        assert (samples[0] in train) == (samples[1] in train)
        assert (samples[0] in held_out) == (samples[1] in held_out)


def test_a_group_larger_than_the_target_is_taken_only_when_all_are() -> None:
    pairs = [Sample(f"prompt {number // 2}", f"text {number}") for number in range(8)]
    assert len(split_samples(pairs, validation=1, seed=0)[1]) == 2
    assert len(split_samples(pairs, validation=5, seed=0)[1]) == 4
    assert len(split_samples([*pairs, Sample("other", "x")], validation=1, seed=0)[1]) == 1


@pytest.mark.parametrize("validation", [0, -1, 0.0, 1.0, 1.5, -0.5, float("nan"), True])
def test_validation_out_of_range(validation: float) -> None:
    with pytest.raises(SettingsError) as caught:
        split_samples(numbered(10), validation=validation, seed=0)
    assert str(caught.value) == (
        f"validation is {validation}: give a number of rows (an int from 1) or a share of them (a float between 0 and "
        "1)"
    )


@pytest.mark.parametrize(
    ("count", "validation", "text"),
    [
        (4, 0.1, "the validation side empty: give more samples, or a larger validation"),
        (4, 0.9, "the training side empty: give more samples, or a smaller validation"),
        (4, 4, "the training side empty: give more samples, or a smaller validation"),
        (0, 1, "the training side empty: give more samples, or a smaller validation"),
    ],
)
def test_a_side_that_would_be_empty(count: int, validation: float, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        split_samples(numbered(count), validation=validation, seed=0)
    assert str(caught.value) == f"validation {validation} of {count} samples leaves {text}"


def test_one_prompt_cannot_be_split() -> None:
    with pytest.raises(SettingsError) as caught:
        split_samples([Sample("p", "a"), Sample("P", "b"), Sample("p", "c")], validation=1, seed=0)
    assert str(caught.value) == (
        "all 3 samples have the same prompt, so one side of the split would be empty: give samples with other prompts, "
        "or validation data of their own"
    )
