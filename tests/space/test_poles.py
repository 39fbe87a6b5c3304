"""Opposite words become the poles of one axis."""

import numpy as np
import pytest

from xpert.space.decomposition import decompose
from xpert.space.poles import pair_poles

RNG = np.random.default_rng(3)
AXES = np.linalg.qr(RNG.normal(size=(24, 4)))[0].T
# Three axes with both poles; what is common to opposite poles lies along the fourth direction.
POLES = np.stack([sign * AXES[k] + 0.3 * AXES[3] for k in range(3) for sign in (1, -1)])


def test_opposite_words_share_one_line() -> None:
    paired = pair_poles(POLES)
    np.testing.assert_allclose(paired[::2], -paired[1::2])
    directions = paired[::2] / np.linalg.norm(paired[::2], axis=1, keepdims=True)
    np.testing.assert_allclose(directions, AXES[:3], atol=1e-9)


def test_one_of_two_contraries_is_named_never_both() -> None:
    paired = pair_poles(POLES)
    planted = np.array([0.0, 0.8, 0.5, 0.0, 0.0, 0.3])
    mixed = planted @ paired + 2 * AXES[3]
    np.testing.assert_allclose(decompose(mixed, paired), planted, atol=1e-5)
    unpaired = decompose(mixed, POLES).reshape(3, 2)
    assert (unpaired.min(1) > 0.05).any()  # the common part is explained by contraries at once


@pytest.mark.parametrize("seed", range(20))
def test_poles_never_make_the_decomposition_ambiguous(seed: int) -> None:
    z = decompose(np.random.default_rng(seed).normal(size=(50, 24)), pair_poles(POLES))
    assert (np.minimum(z[:, ::2], z[:, 1::2]) == 0).all()


def test_words_that_are_not_opposite_stay_as_they_were() -> None:
    near = np.stack([AXES[0], AXES[1], AXES[0] + AXES[1], np.zeros(24)])
    np.testing.assert_array_equal(pair_poles(near), near)
    oblique = np.stack([AXES[0], AXES[1] - 0.5 * AXES[0]])  # cosine -0.45
    np.testing.assert_array_equal(pair_poles(oblique), oblique)


def test_a_word_is_the_opposite_of_one_word_only() -> None:
    rows = np.stack([AXES[0], -AXES[0] + 0.5 * AXES[1], -AXES[0]])
    paired = pair_poles(rows)
    np.testing.assert_allclose(paired[0], -paired[2])
    np.testing.assert_array_equal(paired[1], rows[1])
