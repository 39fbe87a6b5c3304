"""Safetensors files written tensor by tensor, so that no more than one is in memory. Knows bytes and shapes.

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

from xpert.merging.stored import DTYPES

_NAMES = {dtype: name for name, dtype in DTYPES.items()}

Shape = tuple[tuple[int, ...], torch.dtype]


def write_streamed(
    file: Path,
    shapes: Mapping[str, Shape],
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
        length = _bytes(shapes[name])
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
            stream.write(tensor.to(dtype).reshape(-1).contiguous().view(torch.uint8).numpy().data)
            del tensor  # before the next one is made
            if on_progress is not None:
                on_progress("merging", done, len(names))
        stream.flush()
        os.fsync(stream.fileno())


def write_shards(
    folder: Path,
    stem: str,
    shapes: Mapping[str, Shape],
    tensor_of: Callable[[str], torch.Tensor],
    most_bytes: int,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Write {stem}.safetensors or, where that would be too large, several files and the index that names them.

    Args:
        folder: to write into.
        stem: such as "model".
        shapes, tensor_of, on_progress: as `write_streamed`.
        most_bytes: of the tensors of one file; a tensor that is larger has a file of its own.
    """
    shards = _shards(shapes, most_bytes)
    if len(shards) == 1:
        write_streamed(folder / f"{stem}.safetensors", shapes, tensor_of, on_progress)
        return
    before, where = 0, dict[str, str]()
    for number, names in enumerate(shards, 1):
        file = f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"

        def counted(stage: str, done: int, _total: int, before: int = before) -> None:
            if on_progress is not None:
                on_progress(stage, before + done, len(shapes))

        write_streamed(folder / file, {name: shapes[name] for name in names}, tensor_of, counted)
        where |= dict.fromkeys(names, file)
        before += len(names)
    index = {"metadata": {"total_size": sum(map(_bytes, shapes.values()))}, "weight_map": where}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _shards(shapes: Mapping[str, Shape], most_bytes: int) -> list[list[str]]:
    """Names in order, cut wherever the next tensor would not fit."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name in sorted(shapes):
        size = _bytes(shapes[name])
        if shards[-1] and filled + size > most_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _bytes(shape: Shape) -> int:
    return math.prod(shape[0]) * shape[1].itemsize
