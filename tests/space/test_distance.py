"""Kind by direction, benefit by length."""

import numpy as np
import pytest

from xpert.space.distance import direction_distance, gap


def test_a_weak_model_of_the_right_kind_is_as_near_in_kind_as_a_strong_one() -> None:
    person = np.array([1.0, 0.5, 0.0])
    assert direction_distance(person, 0.3 * person) == pytest.approx(0.0)
    assert gap(person, 0.3 * person) == pytest.approx(0.7 * np.linalg.norm(person))


def test_opposites_and_zero() -> None:
    assert direction_distance(np.array([1.0, 0.0]), np.array([-2.0, 0.0])) == 2.0
    assert direction_distance(np.zeros(2), np.ones(2)) == 1.0
