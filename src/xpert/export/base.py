"""The frozen half of an export: the base's tensors in one file, and what a step over them needs.

Knows peft models and sizes; nothing of graphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xpert.export.architecture import Architecture
from xpert.export.decoder import COSINES, SINES
from xpert.export.frozen import SCALE, Place, quantize, write_frozen
from xpert.runtime.manifest import PACK_BELOW_BYTES, AdapterFacts, Memory

OUTER = "base_model.model."
_BASE_LAYER = ".base_layer"


@dataclass(frozen=True, slots=True)
class WrittenBase:
    """Places of the tensors, and length of all rounding errors over length of all weights."""

    places: dict[str, Place]
    weight_error: float


def write_base(model: Any, architecture: Architecture, length: int, int8: bool, file: Path) -> WrittenBase:
    """Write the frozen tensors of a peft model, and cos and sin of the first `length` positions.

    Args:
        model: of peft, around a causal LM.
        architecture: of the LM.
        length: positions.
        int8: keep matrices as int8.
        file: to write.
    """
    tensors = {
        name.removeprefix(OUTER).replace(_BASE_LAYER, ""): parameter.detach()
        for name, parameter in model.named_parameters()
        if ".lora_" not in name
    }
    rotary = model.get_base_model().model.rotary_emb
    half = architecture.head_width // 2
    cos, sin = rotary(torch.zeros(1), torch.arange(length)[None])
    tensors |= {COSINES: cos[0, :, :half], SINES: sin[0, :, :half]}
    arrays = {name: tensor.numpy for name, tensor in tensors.items()}
    places = write_frozen(file, arrays, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, int8)
    return WrittenBase(places, _rounding([tensors[n].numpy() for n in tensors if n + SCALE in places]))


def _rounding(matrices: list[np.ndarray]) -> float:
    """Length of what int8 takes away, over the length of all weights; 0 without matrices."""
    lost, whole = 0.0, 0.0
    for matrix in matrices:
        q, scales = quantize(matrix)
        lost += float(np.square(matrix - q * scales[:, None], dtype=np.float64).sum())
        whole += float(np.square(matrix, dtype=np.float64).sum())
    return (lost / whole) ** 0.5 if whole else 0.0


def estimate_memory(of: Architecture, base: Path, adapter: AdapterFacts, int8: bool) -> Memory:
    """What a step keeps, in float32: see docs/phones.md for where the numbers come from.

    A block keeps of each token its input, both norms, the sum between (4 d), queries, keys, values and the
    attention's output (2 h e + 2 k e), and two numbers for each place of the gate (2 f); of each pair of tokens one
    number a head. Where activations are computed again, a block keeps its input only, and one block at a time has all
    of that and its gradients: three numbers a head and pair, and twice those of a token.
    A quarter is added for what the allocator wastes, 96 MiB for the runtime itself, a second copy of a base that is
    small enough to be packed, and with int8 the widest matrix.
    """
    block = 4 * of.width + (2 * of.heads + 2 * of.pairs) * of.head_width + 2 * of.gate_width
    size = base.stat().st_size
    wide = 4 * max(of.vocabulary, of.gate_width) * of.width if int8 else size if size < PACK_BELOW_BYTES else 0
    return Memory(
        fixed_bytes=size + 4 * 10 * adapter.size + wide + 96 * 2**20,
        token_bytes=4 * of.blocks * block * 5 // 4,
        pair_bytes=4 * of.blocks * of.heads * 5 // 4,
        label_bytes=4 * (2 * of.vocabulary + 4 * of.width),
        recompute_token_bytes=4 * (of.blocks * of.width + 2 * block) * 5 // 4,
        recompute_pair_bytes=4 * 3 * of.heads * 5 // 4,
    )
