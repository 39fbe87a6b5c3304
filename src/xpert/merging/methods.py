"""The methods of merging: a table of formulas with their papers, and one method with its numbers chosen.

A formula takes the parents' differences delta_i = theta_i - theta_0 of ONE tensor and weights a_i, and gives the
difference of the merged model. The weights come from explanations and mean a sum, so nothing is divided by their total.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from xpert.errors import SettingsError
from xpert.merging.dare import Masks, dare, dare_ties
from xpert.merging.task_arithmetic import task_arithmetic
from xpert.merging.ties import ties


@dataclass(frozen=True, slots=True)
class Method:
    """A way to merge.

    Attributes:
        name: how people choose it.
        paper: where it comes from.
        sentence: what it does.
        parameters: what the formula takes besides differences and weights: of density, mean, masks.
        formula: (deltas, weights, **parameters) -> merged delta.
    """

    name: str
    paper: str
    sentence: str
    parameters: tuple[str, ...]
    formula: Callable[..., torch.Tensor]


_ALL = (
    Method(
        "task-arithmetic",
        "Ilharco et al., 2023, Editing Models with Task Arithmetic, arXiv 2212.04089",
        "Adds up the weighted differences.",
        (),
        task_arithmetic,
    ),
    Method(
        "ties",
        "Yadav et al., 2023, TIES-Merging: Resolving Interference When Merging Models, arXiv 2306.01708",
        "Keeps the largest numbers of each difference, and of those the ones whose sign has more mass.",
        ("density", "mean"),
        ties,
    ),
    Method(
        "dare",
        "Yu et al., 2024, Language Models are Super Mario, arXiv 2311.03099",
        "Drops numbers of each difference at random, makes the rest larger, and adds up.",
        ("density", "masks"),
        dare,
    ),
    Method(
        "dare-ties",
        "Yu et al., 2024 (arXiv 2311.03099) with Yadav et al., 2023 (arXiv 2306.01708)",
        "Drops numbers at random as DARE does, and keeps the ones whose sign has more mass, as TIES does.",
        ("density", "masks", "mean"),
        dare_ties,
    ),
)
METHODS = {method.name: method for method in _ALL}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A method and its numbers.

    Attributes:
        method: name in `METHODS`.
        density: share of each difference that is kept, above 0 and at most 1.
        mean: with signs elected, the mean over the models that agree in place of their sum.
        seed: of what is dropped at random.

    Raises:
        SettingsError: no such method, a number out of range, or one that the method does not have.
    """

    method: str = "task-arithmetic"
    density: float = 1.0
    mean: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SettingsError(f"no merging method {self.method!r}: use one of {', '.join(METHODS)}")
        if not 0 < self.density <= 1:
            raise SettingsError(f"density {self.density!r} is out of range: give a number above 0 and at most 1")
        for name, given in (("density", self.density != 1), ("mean", self.mean)):
            if given and name not in METHODS[self.method].parameters:
                having = ", ".join(method.name for method in _ALL if name in method.parameters)
                raise SettingsError(f"method {self.method} has no {name}: leave it out, or use one of {having}")

    @property
    def keeps_low_rank(self) -> bool:
        """Whether the merged difference of LoRAs is a LoRA of the ranks' sum, exactly."""
        return self.method == "task-arithmetic"

    def merge(
        self, tensor: str, deltas: Iterable[torch.Tensor], weights: Sequence[float], parents: Sequence[str]
    ) -> torch.Tensor:
        """The merged difference of one tensor.

        Args:
            tensor: its name; with the parent's digest and the seed it decides what is dropped, so neither the order
                of tensors nor that of parents does.
            deltas: fp32 differences of one shape, a parent each; may be made one by one.
            weights: a_i.
            parents: digests of the parents.
        """
        given = {"density": self.density, "mean": self.mean, "masks": self.masks(tensor, parents)}
        method = METHODS[self.method]
        return method.formula(deltas, weights, **{name: given[name] for name in method.parameters})

    def masks(self, tensor: str, parents: Sequence[str]) -> Masks:
        """What draws the random masks of one tensor."""

        def draw(number: int, shape: torch.Size) -> torch.Tensor:
            digest = hashlib.sha256(f"{self.seed}\0{parents[number]}\0{tensor}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
            return torch.empty(shape, dtype=torch.bool).bernoulli_(self.density, generator=generator)

        return draw
