"""The header of a safetensors file, read strictly: uploads are hostile.

Knows bytes and JSON only: no torch, no peft, nothing of what a tensor means. A file is

    8 bytes N, little endian | N bytes of JSON: name -> {dtype, shape, data_offsets} | the tensors' bytes

and is refused unless every tensor's bytes are shape x dtype, tensors follow each other without gap or
overlap, and the file ends where the last one ends. What passes here opens with the safetensors library.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from xpert.errors import DamagedModelError, MissingModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bits = NDArray[np.unsignedinteger[Any]]

HEADER_CAP_BYTES = 8 * 2**20
"""Largest header that is read: 80 000 tensors of a LoRA adapter need about as much."""

_EXPONENTS = {"F16": (2, 0x7C00), "BF16": (2, 0x7F80), "F32": (4, 0x7F800000), "F64": (8, 0x7FF0000000000000)}
"""Bytes of one number and the bits of its exponent; all of them set means NaN or infinite."""

_WHOLE_NUMBERS = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}
"""Allowed for alphas only: kohya-ss writes the rank as a whole number where none was chosen."""

_PIECE_BYTES = 4 * 2**20
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a file.

    Attributes:
        name: key in the header.
        dtype: F16, BF16, F32 or F64; that of an alpha may be a whole number.
        shape: sizes of its axes.
        start: first byte in the file.
        stop: byte after its last.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def strict_json(raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object without duplicate keys, NaN or broken Unicode.

    Args:
        raw: UTF-8 bytes.
        what: how an error names the place, such as the path of the file.

    Raises:
        DamagedModelError: it is none.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands twice in one object")
        return found

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no JSON number")

    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # lone surrogates would break every later print
    except (ValueError, RecursionError) as error:
        reason = str(error)[:200].encode("ascii", "backslashreplace").decode()
        raise DamagedModelError(f"{what} is not plain JSON ({reason}): save or download it again") from error
    if not isinstance(value, dict):
        raise DamagedModelError(f"{what} holds a JSON {type(value).__name__}, not an object: save or download it again")
    return value


def read_header(path: Path) -> tuple[TensorEntry, ...]:
    """The tensors that a safetensors file holds, in the order of their bytes; reads the header only.

    Raises:
        MissingModelError: the file cannot be read.
        DamagedModelError: it is truncated, too long, another format, or its header lies.
    """
    try:
        with path.open("rb") as stream:
            return _read_header(stream, path.stat().st_size, path)
    except OSError as error:
        raise MissingModelError(f"{path} cannot be read ({error.strerror or error}): check path and rights") from error


def _read_header(stream: BinaryIO, size: int, path: Path) -> tuple[TensorEntry, ...]:
    prefix = stream.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length < 2 or length > min(HEADER_CAP_BYTES, size - 8):
        if prefix.startswith(_PICKLES):
            raise DamagedModelError(
                f"{path} is a pickle or zip archive under the name of a safetensors file, and unpickling runs code: "
                "save the adapter with `save_pretrained(..., safe_serialization=True)`"
            )
        raise DamagedModelError(
            f"{path} announces a header of {length} bytes in a file of {size}; at most {HEADER_CAP_BYTES} are "
            "allowed, and they must be there: it is truncated or no safetensors file; fetch or save it again"
        )
    raw = stream.read(length)
    if not raw.startswith(b"{"):
        raise DamagedModelError(
            f"{path}: the header does not start with '{{': it is no safetensors file; save or fetch it again"
        )
    table = strict_json(raw, f"the header of {path}")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise DamagedModelError(f"{path}: __metadata__ must map text to text: save the file again")
    entries = sorted((_entry(name, spec, 8 + length, path) for name, spec in table.items()), key=_order)
    end = 8 + length
    for entry in entries:
        if entry.start != end:
            raise DamagedModelError(
                f"{path}: tensor {entry.name!r} starts at byte {entry.start}, the one before it ends at {end}: "
                "tensors must follow each other without gap or overlap; save the file again"
            )
        end = entry.stop
    if end != size:
        raise DamagedModelError(
            f"{path} has {size} bytes, its header describes {end}: it is truncated or carries something else; "
            "fetch or save it again"
        )
    return tuple(entries)


def read_metadata(path: Path) -> dict[str, str]:
    """The `__metadata__` of a file whose header passes `read_header`.

    Raises:
        MissingModelError, DamagedModelError: as `read_header`.
    """
    read_header(path)
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        metadata: dict[str, str] = strict_json(stream.read(length), f"the header of {path}").get("__metadata__", {})
    return metadata


def _order(entry: TensorEntry) -> tuple[int, int]:
    return entry.start, entry.stop


def _whole(values: object) -> bool:
    """True for a list of whole numbers >= 0 that 64 bits hold (bool is none)."""
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 2**63 for v in values)


def _entry(name: str, spec: object, origin: int, path: Path) -> TensorEntry:
    """One row of the header, with offsets counted from the start of the file."""
    if len(name) > 512:
        raise DamagedModelError(
            f"{path}: a tensor's name has {len(name)} characters, at most 512 are allowed: rename it"
        )
    if not isinstance(spec, dict) or spec.keys() != {"dtype", "shape", "data_offsets"}:
        raise DamagedModelError(
            f"{path}: tensor {name!r} needs exactly dtype, shape and data_offsets: save the file again"
        )
    dtype, shape, offsets = spec["dtype"], spec["shape"], spec["data_offsets"]
    widths = {kind: width for kind, (width, _) in _EXPONENTS.items()}
    if name.endswith(".alpha"):
        widths |= _WHOLE_NUMBERS
    if not isinstance(dtype, str) or dtype not in widths:
        raise DamagedModelError(
            f"{path}: tensor {name!r} has dtype {str(dtype)[:200]!r}; allowed are "
            f"{', '.join(_EXPONENTS)}: convert it to floats"
        )
    if not _whole(shape) or not _whole(offsets) or len(offsets) != 2:
        raise DamagedModelError(
            f"{path}: tensor {name!r} has shape {str(shape)[:200]} and offsets {str(offsets)[:200]}; "
            "both must be lists of whole numbers >= 0, the offsets two; save the file again"
        )
    needed, given = math.prod(shape) * widths[dtype], offsets[1] - offsets[0]
    if needed != given:
        raise DamagedModelError(
            f"{path}: tensor {name!r} of shape {str(shape)[:200]} and {dtype} needs {str(needed)[:20]} bytes, "
            f"its offsets give {given}: the header lies, fetch or save the file again"
        )
    return TensorEntry(name, dtype, tuple(shape), origin + offsets[0], origin + offsets[1])


def check_finite(path: Path, entries: tuple[TensorEntry, ...]) -> None:
    """Refuse NaN and infinite numbers; reads the tensors one by one, in pieces of 4 MiB.

    Raises:
        MissingModelError, DamagedModelError: as `finite_pieces`.
    """
    for _ in finite_pieces(path, entries):
        pass


def finite_pieces(path: Path, entries: tuple[TensorEntry, ...]) -> Iterator[tuple[TensorEntry, Bits]]:
    """The bits of the tensors' numbers, in pieces of 4 MiB, each seen to hold no NaN and no infinite number.

    A number is NaN or infinite exactly when all bits of its exponent are set (IEEE 754).

    Raises:
        MissingModelError: the file cannot be read.
        DamagedModelError: a tensor holds such a number, or the file became shorter since its header was read.
    """
    import numpy as np

    try:
        with path.open("rb") as stream:
            for entry in entries:
                if entry.dtype in _WHOLE_NUMBERS:
                    continue
                width, bits = _EXPONENTS[entry.dtype]
                stream.seek(entry.start)
                left = entry.stop - entry.start
                while left:
                    piece = stream.read(min(_PIECE_BYTES, left))
                    if not piece or len(piece) % width:
                        raise DamagedModelError(f"{path} became shorter while it was read: try again")
                    left -= len(piece)
                    mask = np.array(bits, dtype=f"<u{width}")
                    found = np.frombuffer(piece, dtype=mask.dtype)
                    if bool(((found & mask) == mask).any()):
                        raise DamagedModelError(
                            f"{path}: tensor {entry.name!r} holds NaN or infinite numbers: its training diverged; "
                            "tune again with a smaller learning rate"
                        )
                    yield entry, found
    except OSError as error:
        raise MissingModelError(f"{path} cannot be read ({error.strerror or error}): check path and rights") from error
