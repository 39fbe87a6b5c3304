"""A safetensors file written tensor by tensor, so that no more than one is in memory. Knows bytes and shapes.

    8 bytes N, little endian | N bytes of JSON: name -> {dtype, shape, data_offsets} | the tensors' bytes

The safetensors library writes whole dictionaries only; what is written here it opens.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

_NAMES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64"}
_WIDTHS = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}


def write_streamed(
    file: Path,
    shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
    tensor_of: Callable[[str], torch.Tensor],
    on_progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Write tensors in the order of their names, each made when it is its turn; synced to the disk.

    Args:
        file: to write; the caller publishes it by renaming.
        shapes: name -> shape and dtype.
        tensor_of: makes the tensor of a name, of that shape.
        on_progress: called with ("merging", done, total).

    Raises:
        ValueError: a tensor has another shape than announced.
    """
    names, offset = sorted(shapes), 0
    header: dict[str, dict[str, object]] = {"__metadata__": {"format": "pt"}}
    for name in names:
        shape, dtype = shapes[name]
        length = math.prod(shape) * _WIDTHS[_NAMES[dtype]]
        header[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [offset, offset + length],
        }
        offset += length
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with file.open("wb") as stream:
        stream.write(len(raw).to_bytes(8, "little") + raw)
        for done, name in enumerate(names, 1):
            shape, dtype = shapes[name]
            tensor = tensor_of(name)
            if tuple(tensor.shape) != tuple(shape):
                raise ValueError(f"tensor {name!r} has shape {tuple(tensor.shape)}, announced was {tuple(shape)}")
            stream.write(tensor.to(dtype).reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
            if on_progress is not None:
                on_progress("merging", done, len(names))
        stream.flush()
        os.fsync(stream.fileno())
