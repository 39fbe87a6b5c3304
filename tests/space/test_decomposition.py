"""Planted truths for the projection, and the faults of the public script that stay out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpert.errors import SpaceError
from xpert.space.decomposition import decompose, overlap, residual_share


@given(seed=st.integers(0, 2**32 - 1), words=st.integers(1, 12), width=st.integers(16, 96))
@settings(max_examples=60, deadline=None)
def test_a_planted_mixture_is_recovered(seed: int, words: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(words, width)) * rng.uniform(0.1, 30, size=(words, 1))
    planted = np.abs(rng.normal(size=words)) * rng.integers(0, 2, size=words)
    found = decompose(planted @ vectors, vectors)
    np.testing.assert_allclose(found, planted, atol=1e-5)
    assert residual_share(planted @ vectors, vectors) < 1e-6


def test_correlated_words_are_told_apart_where_separate_projections_are_not() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2, 64))
    vectors[1] = 0.7 * vectors[0] + 0.5 * vectors[1]
    planted = np.array([0.8, 0.3])
    np.testing.assert_allclose(decompose(planted @ vectors, vectors), planted, atol=1e-9)


def test_the_residual_of_a_planted_mixture_is_the_noise_that_was_added() -> None:
    # The public script divided by |e| and multiplied by e: relative residual 1.29 where 0.11 is right.
    rng = np.random.default_rng(1)
    vectors = 5 * rng.normal(size=(6, 256))
    signal = np.abs(rng.normal(size=6)) @ vectors
    noise = rng.normal(size=256)
    noise -= np.linalg.lstsq(vectors.T, noise, rcond=None)[0] @ vectors
    noise *= 0.11 * np.linalg.norm(signal) / np.linalg.norm(noise)
    assert residual_share(signal + noise, vectors) == pytest.approx(0.11 / np.hypot(1, 0.11), abs=1e-6)


def test_coefficients_do_not_grow_with_the_number_of_prompts() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(4, 32))
    one = np.abs(rng.normal(size=(10, 4))) @ vectors
    ten = np.concatenate([one] * 10)
    np.testing.assert_allclose(decompose(ten, vectors).mean(0), decompose(one, vectors).mean(0), atol=1e-9)


def test_a_negative_cosine_hides_no_positive_one() -> None:
    chosen = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    leaning = np.array([0.7, -0.7, 0.1])
    assert sum(row @ leaning for row in chosen) == pytest.approx(0.0)
    assert overlap(leaning, chosen) == pytest.approx(0.7 / np.linalg.norm(leaning))


def test_widths_that_differ_name_both_numbers() -> None:
    with pytest.raises(SpaceError, match=r"embedding has 5 numbers, the space expects 8"):
        decompose(np.zeros(5), np.ones((2, 8)))


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(SpaceError, match="not finite"):
        decompose(np.array([1.0, np.nan]), np.ones((1, 2)))


def test_no_words_explain_nothing() -> None:
    assert decompose(np.ones((3, 4)), np.zeros((0, 4))).shape == (3, 0)
    assert residual_share(np.ones(4), np.zeros((0, 4))) == 1.0
    assert residual_share(np.zeros(4), np.zeros((0, 4))) == 0.0


def test_of_two_opposite_poles_only_the_one_that_holds_is_named() -> None:
    axis = np.array([0.0, 2.0, 0.0])
    poles = np.stack([axis, -axis])
    np.testing.assert_allclose(decompose(np.array([0.3, -1.0, 0.0]), poles), [0.0, 0.5], atol=1e-12)
    assert overlap(-axis, axis[None]) == 0.0
