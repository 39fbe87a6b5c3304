"""Whether hidden states of a padded batch are those of each row alone: not every model leaves padding out.

Knows models in memory and token ids. A model with a state, or one that counts places from the start of a batch, sees
the padding on the left; its rows go together only where they are equally long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from xpert.models.loading import LoadedModel
from xpert.summarizing.summarizer import FloatArray

_LENGTHS = (3, 17, 9, 17, 2)
_FAILS = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
States = Callable[[Sequence[Sequence[int]]], FloatArray]
_found: dict[tuple[object, ...], str] = {}


def grouped(
    loaded: LoadedModel, states: States, batches: Sequence[list[int]], encoded: Sequence[list[int]]
) -> list[list[int]]:
    """Batches, parted as far as the model needs it.

    Args:
        loaded: the model.
        states: token rows -> their hidden states (n, d), in one padded batch.
        batches: places in `encoded`.
        encoded: token rows.
    """
    kind = _kind(loaded, states) if any(len(batch) > 1 for batch in batches) else "padded"
    if kind == "padded":
        return [*batches]
    if kind == "alone":
        return [[row] for batch in batches for row in batch]
    return [
        list(group)
        for batch in batches
        for _, group in groupby(sorted(batch, key=lambda row: len(encoded[row])), key=lambda row: len(encoded[row]))
    ]


def _kind(loaded: LoadedModel, states: States) -> str:
    """`padded`, `equal` or `alone`: the largest batches that give the numbers of single rows; tried once a model."""
    key = (loaded.digest, type(loaded.model), loaded.model.dtype, loaded.device)
    if key not in _found:
        size = int(loaded.model.get_input_embeddings().weight.shape[0])
        rows = [[(5 + 31 * row + 101 * place) % size for place in range(n)] for row, n in enumerate(_LENGTHS)]
        alone = np.concatenate([states([row]) for row in rows])
        if not np.isfinite(alone).all():
            return "alone"
        exact = 1e-4 if str(loaded.model.dtype) == "torch.float32" else 5e-2
        _found[key] = next(
            (
                kind
                for kind, places in (("padded", [0, 1, 2, 3, 4]), ("equal", [1, 3]))
                if _agrees(states, [rows[place] for place in places], alone[places], exact)
            ),
            "alone",
        )
    return _found[key]


def _agrees(states: States, rows: Sequence[Sequence[int]], alone: FloatArray, exact: float) -> bool:
    try:
        return bool(np.abs(states(rows) - alone).max() <= exact * np.abs(alone).max())
    except _FAILS:
        return False
