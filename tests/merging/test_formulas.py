"""Task arithmetic, TIES and DARE beside the functions of peft and of mergekit, on the same tensors and masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft.utils import merge_utils

from xpert.errors import SettingsError
from xpert.merging.dare import dare, dare_ties
from xpert.merging.methods import METHODS, Recipe
from xpert.merging.task_arithmetic import task_arithmetic
from xpert.merging.ties import agreeing, ties, trim

WEIGHTS = (0.7, 0.4, 1.2)
DENSITY = 0.3


@pytest.fixture
def tensors() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(17, 23, generator=generator) for _ in WEIGHTS]


def drawn(number: int) -> torch.Tensor:
    """The masks that a peer draws after `torch.manual_seed(0)`, one after another."""
    torch.manual_seed(0)
    masks = [torch.bernoulli(torch.full((17, 23), DENSITY)) for _ in WEIGHTS]
    return masks[number]


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda d: task_arithmetic(d, WEIGHTS), lambda d, w: merge_utils.task_arithmetic(d, w)),
        (lambda d: ties(d, WEIGHTS, density=0.3, mean=True), lambda d, w: merge_utils.ties(d, w, DENSITY)),
        (
            lambda d: dare(d, WEIGHTS, density=0.3, masks=lambda n, _: drawn(n)),
            lambda d, w: merge_utils.dare_linear(d, w, DENSITY),
        ),
        (
            lambda d: dare_ties(d, WEIGHTS, density=0.3, masks=lambda n, _: drawn(n), mean=True),
            lambda d, w: merge_utils.dare_ties(d, w, DENSITY),
        ),
    ],
    ids=METHODS,
)
def test_formulas_equal_those_of_peft(
    tensors: list[torch.Tensor], ours: Callable[..., torch.Tensor], theirs: Callable[..., torch.Tensor]
) -> None:
    kept = [tensor.clone() for tensor in tensors]
    found = ours(tensors)
    torch.manual_seed(0)
    close(found, theirs(tensors, torch.tensor(WEIGHTS)))
    assert all(torch.equal(a, b) for a, b in zip(tensors, kept, strict=True))  # nothing given was changed


@pytest.mark.parametrize(
    ("name", "parameters", "ours"),
    [
        ("task_arithmetic", {}, lambda d: task_arithmetic(d, WEIGHTS)),
        ("ties", {"density": DENSITY, "normalize": False}, lambda d: ties(d, WEIGHTS, density=DENSITY)),
        (
            "dare_linear",
            {"density": DENSITY, "rescale": False},
            lambda d: DENSITY * dare(d, WEIGHTS, density=DENSITY, masks=lambda n, _: drawn(n)),
        ),
        (
            "dare_ties",
            {"density": DENSITY, "rescale": False, "normalize": False},
            lambda d: DENSITY * dare_ties(d, WEIGHTS, density=DENSITY, masks=lambda n, _: drawn(n)),
        ),
    ],
    ids=METHODS,
)
def test_formulas_equal_those_of_mergekit(
    tensors: list[torch.Tensor], name: str, parameters: dict[str, Any], ours: Callable[..., torch.Tensor]
) -> None:
    """Its DARE rescales to the norm before the drop, the paper and ours by 1 / density: compared before rescaling."""
    api = pytest.importorskip("mergekit.merge_methods.api", reason="mergekit is not installed")
    base = torch.randn(17, 23, generator=torch.Generator().manual_seed(9))
    tuned = [base + tensor for tensor in tensors]
    found = ours([one - base for one in tuned])
    torch.manual_seed(0)
    weights = dict(enumerate(WEIGHTS, 1))
    close(
        base + found,
        api.merge_tensors([base, *tuned], name, parameters={"weight": weights, **parameters}, base_index=0),
    )


def test_a_tie_counts_as_plus_and_small_tensors_keep_a_number() -> None:
    close(agreeing([torch.tensor([1.0, -2.0]), torch.tensor([-1.0, -1.0])], (1.0, 1.0)), torch.tensor([1.0, -3.0]))
    assert trim(torch.tensor([0.1, -3.0, 2.0]), 0.01).tolist() == [0.0, -3.0, 0.0]
    assert trim(torch.ones(4), 0.5).tolist() == [1.0, 1.0, 0.0, 0.0]


def test_a_model_that_agrees_with_all_keeps_its_weight(tensors: list[torch.Tensor]) -> None:
    close(ties([tensors[0], tensors[0]], (0.5, 0.3)), 0.8 * tensors[0])
    close(ties([tensors[0], tensors[0]], (0.5, 0.3), mean=True), 0.4 * tensors[0])


def test_what_is_dropped_hangs_on_seed_tensor_and_parent_only(tensors: list[torch.Tensor]) -> None:
    recipe = Recipe("dare", density=0.5, seed=3)
    found = recipe.merge("q", tensors, WEIGHTS, ["a", "b", "c"])
    assert torch.equal(found, recipe.merge("q", tensors, WEIGHTS, ["a", "b", "c"]))
    close(found, recipe.merge("q", tensors[::-1], WEIGHTS[::-1], ["c", "b", "a"]))
    for other in (
        Recipe("dare", density=0.5, seed=4).merge("q", tensors, WEIGHTS, ["a", "b", "c"]),
        recipe.merge("k", tensors, WEIGHTS, ["a", "b", "c"]),
        recipe.merge("q", tensors, WEIGHTS, ["a", "b", "d"]),
    ):
        assert not torch.allclose(found, other)
    kept = recipe.masks("q", ["a"])(0, torch.Size((400, 400))).float().mean()
    assert abs(float(kept) - 0.5) < 0.01


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"method": "slerp"}, r"no merging method 'slerp': use one of task-arithmetic, ties, dare, dare-ties"),
        ({"method": "ties", "density": 0.0}, r"density 0\.0 is out of range: give a number above 0 and at most 1"),
        ({"method": "ties", "density": float("nan")}, r"density nan is out of range"),
        ({"density": 0.5}, r"method task-arithmetic has no density: leave it out, or use one of ties, dare"),
        ({"method": "dare", "mean": True}, r"method dare has no mean: leave it out, or use one of ties, dare-ties"),
    ],
)
def test_recipes_that_cannot_be_are_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        Recipe(**given)
