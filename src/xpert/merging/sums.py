"""theta_0 plus the merged difference, one tensor at a time. Knows tensors by name; no files' layout, no modality."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch

from xpert.merging.lora import Lora, dense
from xpert.merging.methods import Recipe
from xpert.merging.parents import check_sum
from xpert.merging.stored import Stored


@dataclass(frozen=True)
class SumParent:
    """One model of a merge of whole weights.

    Attributes:
        name: how people call it.
        digest: of its content.
        weight: a_i.
        source: its own weights, or a LoRA.
        transposed: layers whose weight is kept as (in, out), the transpose of B A.
    """

    name: str
    digest: str
    weight: float
    source: Stored | Lora
    transposed: Collection[str] = ()

    def changes(self, tensor: str) -> bool:
        """Whether it can differ from the base in this tensor."""
        return not isinstance(self.source, Lora) or tensor.removesuffix(".weight") in self.source.layers

    def difference(self, tensor: str, start: torch.Tensor) -> torch.Tensor:
        """theta_i - theta_0 of a tensor that it changes, in fp32."""
        if not isinstance(self.source, Lora):
            return self.source.read(tensor).sub_(start)
        layer = tensor.removesuffix(".weight")
        delta = dense(self.source, layer)
        return delta.T.contiguous() if layer in self.transposed else delta


def summed(origin: Stored, parents: Sequence[SumParent], recipe: Recipe) -> Callable[[str], torch.Tensor]:
    """What makes a tensor of the merged model, in the base's dtype.

    Args:
        origin: weights of the base.
        parents: models and weights; every tensor of a whole one has the base's shape.
        recipe: how to merge.

    Raises:
        ModelError, of what is returned: a sum is not finite in the base's dtype.
        MissingModelError, DamagedModelError, of what is returned: a file cannot be read any more.
    """
    dtypes = {name: dtype for name, (_, dtype) in origin.shapes.items()}

    def tensor(name: str) -> torch.Tensor:
        start = origin.read(name)
        having = [parent for parent in parents if parent.changes(name)]
        if not having:
            return start.to(dtypes[name])
        total = recipe.merge(
            name,
            (parent.difference(name, start) for parent in having),
            [parent.weight for parent in having],
            [parent.digest for parent in having],
        )
        total = total.add_(start).to(dtypes[name])
        check_sum(name, total, [parent.name for parent in having])
        return total

    return tensor
