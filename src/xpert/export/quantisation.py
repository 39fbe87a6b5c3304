"""What int8 costs on real text: the loss of the exported base beside that of the base as it was.

Random tokens say little of it: on them a model is wrong already. Knows models and texts that come with the package.
"""

from __future__ import annotations

from pathlib import Path

import torch

from xpert.embedded import PEOPLE, people
from xpert.models.loading import LoadedModel
from xpert.records import Sample
from xpert.runtime.batches import evaluation_batches
from xpert.runtime.interface import Batch
from xpert.runtime.manifest import Manifest
from xpert.runtime.stepping import mean_loss
from xpert.runtime.tokens import Tokens
from xpert.runtime.torch_runtime import TorchRuntime, total_loss

TEXTS_OF_EACH = 8
"""Messages of each person of the package; some 2,500 learned tokens together."""

_LENGTH_TOKENS = 192
_BATCH = 4


def loss_error(folder: Path, manifest: Manifest, loaded: LoadedModel) -> float:
    """How far the loss of messages of the package's people moved, in nats a token.

    Args:
        folder: the exported folder.
        manifest: of the folder.
        loaded: the base as it was, with the adapter that the export starts from.

    Returns:
        |mean loss of the exported base - mean loss of the base as it was|.
    """
    samples = Tokens(folder, manifest.prompt).encode(_texts(), min(_LENGTH_TOKENS, manifest.length_tokens))
    batches = evaluation_batches(samples, _BATCH, manifest.prompt.pad)
    return abs(TorchRuntime(folder, manifest=manifest).evaluate(batches) - _loss(loaded, batches))


def _texts() -> list[Sample]:
    from xpert.data import read_samples

    return [sample for name in sorted(people()) for sample in read_samples(PEOPLE / f"{name}.jsonl")[:TEXTS_OF_EACH]]


@torch.no_grad()
def _loss(loaded: LoadedModel, batches: list[Batch]) -> float:
    model = loaded.model.eval()
    return mean_loss(batches, lambda batch: float(total_loss(model, batch)))
