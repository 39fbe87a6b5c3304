"""The tensors of a model on disk, in one file or several, each read when it is its turn. Knows bytes and shapes.

A tensor is read into memory of its own, not mapped: what was read and dropped takes no memory, and a file that becomes
shorter meanwhile is an error, not a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from xpert.errors import DamagedModelError, MissingModelError
from xpert.models.headers import TensorEntry, check_finite, read_header

DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
"""Name of a dtype in a safetensors file -> that of torch."""

Shapes = dict[str, tuple[tuple[int, ...], torch.dtype]]


@dataclass(frozen=True)
class Stored:
    """Tensors by name, and where their bytes lie.

    Attributes:
        places: name -> file and entry of its header.
    """

    places: Mapping[str, tuple[Path, TensorEntry]]

    @property
    def shapes(self) -> Shapes:
        """Name -> shape and dtype."""
        return {name: (entry.shape, DTYPES[entry.dtype]) for name, (_, entry) in self.places.items()}

    def read(self, name: str) -> torch.Tensor:
        """One tensor in fp32.

        Raises:
            MissingModelError: the file cannot be read any more.
            DamagedModelError: it became shorter.
        """
        file, entry = self.places[name]
        length = entry.stop - entry.start
        try:
            raw = np.fromfile(file, dtype=np.uint8, count=length, offset=entry.start)
        except OSError as error:
            raise unreadable(file, error) from error
        if len(raw) != length:
            raise DamagedModelError(f"{file} became shorter while it was read: try again")
        return torch.from_numpy(raw).view(DTYPES[entry.dtype]).reshape(entry.shape).to(torch.float32)


def open_stored(files: Iterable[Path], *, finite: bool = True) -> Stored:
    """Read the headers of a model's files and, unless told otherwise, look for NaN in all of them.

    Raises:
        MissingModelError, DamagedModelError: a file cannot be read, a header lies, a tensor stands in two files, or
            there are NaN or infinite numbers.
    """
    places: dict[str, tuple[Path, TensorEntry]] = {}
    for file in files:
        entries = read_header(file)
        for entry in entries:
            if entry.name in places:
                raise DamagedModelError(
                    f"tensor {entry.name!r} stands in {places[entry.name][0]} and in {file}: save the model again"
                )
            places[entry.name] = file, entry
        if finite:
            check_finite(file, entries)
    return Stored(places)


def unreadable(file: Path, error: OSError) -> MissingModelError:
    """The error of a file that the system does not give."""
    return MissingModelError(f"{file} cannot be read ({error.strerror or error}): check path and rights")


def read_layers(
    file: Path, key_of: Callable[[str], tuple[str, str] | None]
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Layer -> A and B of a LoRA that was inspected.

    Args:
        file: of its tensors.
        key_of: name of a tensor -> its layer, and "A" or "B".

    Raises:
        MissingModelError, DamagedModelError: it changed since then, and cannot be read any more.
    """
    try:
        tensors = load_file(file)
    except OSError as error:
        raise unreadable(file, error) from error
    except SafetensorError as error:
        raise DamagedModelError(f"{file} cannot be read ({error}): download or save it again") from error
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        key = key_of(name)
        assert key is not None  # inspected
        sides.setdefault(key[0], {})[key[1]] = tensor
    return {layer: (found["A"], found["B"]) for layer, found in sides.items()}
