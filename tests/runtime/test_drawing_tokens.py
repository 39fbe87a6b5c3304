"""A token on a device is drawn from the nucleus, whether the vocabulary was sorted whole or not."""

import numpy as np
import pytest

from xpert.runtime.generation import _nucleus


@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0, 8.0])
@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.95, 0.9999, 1.0])
def test_the_nucleus_is_that_of_the_whole_sorted_vocabulary(spread: float, top_p: float) -> None:
    logits = np.round(np.random.default_rng(5).normal(size=4000) * spread, 1)  # many are alike
    p = np.exp(logits - logits.max())
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    wanted = order[: int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1]
    assert np.array_equal(_nucleus(p, top_p, likeliest=100), wanted)
