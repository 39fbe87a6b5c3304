"""The frozen base as one plain safetensors file that the graphs read their weights from.

Knows tensors by name, bytes and scales; nothing of what a tensor is for. An ONNX graph may name any place of any file
as the bytes of a tensor, so the file of the base serves all graphs at once, and opens with the safetensors library too.

Int8, one scale a row: w ~ s q with s = max|w| / 127 and q whole numbers from -127 to 127; `name` holds q (out, in),
`name.scale` s (out,).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from xpert.export.tape import Tape

SCALE = ".scale"
_PAGE_BYTES = 4096
_TYPES: dict[str, tuple[np.dtype[Any], int]] = {
    "F32": (np.dtype("<f4"), TensorProto.FLOAT),
    "I8": (np.dtype("i1"), TensorProto.INT8),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor lies in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int


def quantize(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers (out, in) and scales (out,) of a matrix (out, in)."""
    scales = np.abs(weights).max(axis=1).astype(np.float32) / np.float32(127)
    scales[scales == 0] = 1
    return np.clip(np.rint(weights / scales[:, None]), -127, 127).astype(np.int8), scales


def write_frozen(
    file: Path, tensors: Mapping[str, Callable[[], np.ndarray]], shapes: Mapping[str, tuple[int, ...]], int8: bool
) -> dict[str, Place]:
    """Write tensors one by one, so that never more than one is held twice.

    Args:
        file: to write.
        tensors: name -> what gives its numbers.
        shapes: name -> shape.
        int8: write matrices as int8 with a scale a row.

    Returns:
        Name -> place.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    sizes: dict[str, tuple[str, tuple[int, ...], int, int]] = {}
    end = 0
    for name in sorted(shapes):
        small = int8 and len(shapes[name]) == 2 and name.endswith(".weight")
        parts = [(name, "I8", shapes[name]), (name + SCALE, "F32", shapes[name][:1])] if small else []
        for key, dtype, shape in parts or [(name, "F32", shapes[name])]:
            size = math.prod(shape) * _TYPES[dtype][0].itemsize
            header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
            sizes[key] = dtype, shape, end, size
            end += size
    raw = json.dumps(header).encode()
    raw += b" " * (-(8 + len(raw)) % _PAGE_BYTES)
    with file.open("wb") as stream:
        stream.write(len(raw).to_bytes(8, "little") + raw)
        for name in sorted(shapes):
            array = tensors[name]()
            parted = quantize(array) if sizes[name][0] == "I8" else (array.astype("<f4", copy=False),)
            for part in parted:
                stream.write(np.ascontiguousarray(part).data)
    return {key: Place(dtype, shape, 8 + len(raw) + start, size) for key, (dtype, shape, start, size) in sizes.items()}


@dataclass(frozen=True, slots=True)
class Frozen:
    """The weights of a base, as values of a graph.

    Attributes:
        file: name of the file beside the graphs.
        places: where each tensor lies in it.
    """

    file: str
    places: Mapping[str, Place]

    def has(self, name: str) -> bool:
        """Whether the base has such a tensor."""
        return name in self.places

    def value(self, tape: Tape, name: str, alias: str = "") -> str:
        """A tensor as it lies in the file; `alias` gives the same bytes another name in the graph."""
        place = self.places[name]
        tensor = TensorProto(name=name + alias, data_type=_TYPES[place.dtype][1], dims=place.shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, told in (("location", self.file), ("offset", place.start), ("length", place.size_bytes)):
            tensor.external_data.add(key=key, value=str(told))
        return tape.external(tensor)

    def matrix(self, tape: Tape, name: str, use: str) -> str:
        """A matrix (out, in) in single precision, for `use` "forward" or "backward".

        Int8 is made wide anew for each use. The scales have another name then, else a runtime would take the two for
        one and keep the wide matrix in memory from the forward to the backward part.
        """
        value = self.value(tape, name)
        if self.places[name].dtype == "F32":
            return value
        return tape.op("DequantizeLinear", value, self.value(tape, name + SCALE, f".{use}"), axis=0)

    def rows(self, tape: Tape, name: str, chosen: str) -> str:
        """Rows of a table in single precision."""
        rows = tape.op("Gather", self.value(tape, name), chosen, axis=0)
        if self.places[name].dtype == "F32":
            return rows
        scales = tape.op("Gather", self.value(tape, name + SCALE), chosen, axis=0)
        return tape.op("Mul", tape.op("Cast", rows, to=TensorProto.FLOAT), tape.op("Unsqueeze", scales, tape.sizes(1)))
