"""A safetensors file -> one that lies: in its header, in its sizes, in its numbers. Knows the bytes of the format."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.mutations import Literal, dumps, hostile, misspell, mutate_bytes, mutate_json

_DTYPES = (
    "F64",
    "F32",
    "F16",
    "BF16",
    "I64",
    "I32",
    "I16",
    "I8",
    "U8",
    "BOOL",
    "F8_E4M3",
    "F8_E5M2",
    "C64",
    "F4",
    "",
    "f32",
    "X",
)
_NUMBERS = (np.nan, np.inf, -np.inf, 3.4e38, 1e38, -1e38, 1e30, 1e20, 1e10, 1e6, 1e-45, 1e-39, 0.0, -0.0, 1.0)


def split(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the numbers of a sound file; nothing of one that is not."""
    try:
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
    except (ValueError, RecursionError, OverflowError):
        return {}, b""
    return (header, raw[8 + length :]) if isinstance(header, dict) else ({}, b"")


def join(header: Any, data: bytes, length: int | None = None) -> bytes:
    """A file of a header, as text or as a value, and numbers."""
    text = header if isinstance(header, bytes) else dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", (len(text) if length is None else length) & (2**64 - 1)) + text + data


def mutate_tensors(rng: random.Random, file: Path) -> str:
    """Change a file in one way; returns which."""
    raw = file.read_bytes()
    header, data = split(raw)
    names = [name for name in header if name != "__metadata__" and isinstance(header[name], dict)]
    if not names:
        file.write_bytes(mutate_bytes(rng, raw))
        return "bytes of the tensors"
    way = rng.choices(_WAYS, _WEIGHTS)[0]
    file.write_bytes(way(rng, header, data, rng.choice(names)))
    return f"tensors{way.__name__.replace('_', ' ')}"


def _numbers(rng: random.Random, header: Any, data: bytes, name: str) -> bytes:
    """Extreme numbers in one place, in one tensor, or in all."""
    values = np.frombuffer(data, dtype="<f4").copy() if len(data) % 4 == 0 else np.zeros(1, dtype="<f4")
    spot = slice(None)
    if rng.random() < 0.7 and "data_offsets" in header[name]:
        start, stop = header[name]["data_offsets"]
        spot = slice(start // 4, stop // 4)
    with np.errstate(all="ignore"):
        match rng.randrange(4):
            case 0:
                values[spot] = rng.choice(_NUMBERS)
            case 1:
                values[spot] *= np.float32(rng.choice((1e3, 1e6, 1e12, 1e30, 1e38, 1e-30, -1.0)))
            case 2:
                values[rng.randrange(len(values))] = rng.choice(_NUMBERS)
            case _:
                values[rng.randrange(len(values)) :] = rng.choice(_NUMBERS)
    return join(header, values.tobytes())


def _offsets(rng: random.Random, header: Any, data: bytes, name: str) -> bytes:
    """Overlaps, gaps, lying ends."""
    start, stop = header[name]["data_offsets"]
    width = stop - start
    header[name]["data_offsets"] = rng.choice(
        ([0, width], [start, stop + 4], [start + 4, stop + 4], [stop, start], [start, start], [-4, width - 4], [start],
        [start, stop, stop],
         [0, 2**63], [2**64 - 4, width], [float(start), float(stop)], [str(start), str(stop)], [True, stop], None,
         [start - 1, stop - 1])
    )  # fmt: skip
    return join(header, data)


def _shapes(rng: random.Random, header: Any, data: bytes, name: str) -> bytes:
    """Shapes that are huge, empty, turned, flat or lie."""
    shape = header[name]["shape"]
    twice = [*shape, 1, 1][:2]  # of a vector, too
    header[name]["shape"] = rng.choice(
        (shape[::-1], [*shape, 1], [1, *shape], [0, *shape[1:]], [], [2**32, 2**32], [2**62, 4], [-1, -1], [10**30, 0],
        [twice[0] * twice[1]],
         [float(s) for s in shape], ["4", 32], [True, *shape], None, {}, [1] * 5000, [twice[0] * 2, twice[1] // 2],
         [4.5, 1])
    )  # fmt: skip
    if rng.random() < 0.3:  # the bytes follow, so that only the shape is another
        header[name] = {"dtype": "F32", "shape": [0, 32], "data_offsets": [len(data), len(data)]}
    return join(header, data)


def _dtypes(rng: random.Random, header: Any, data: bytes, name: str) -> bytes:
    """Other types of number, some of the same width."""
    header[name]["dtype"] = rng.choice((*_DTYPES, None, 7, ["F32"], hostile(rng)))
    return join(header, data)


def _narrow(rng: random.Random, header: Any, data: bytes, _name: str) -> bytes:
    """The same numbers in another precision: a sound file."""
    wanted, kind = rng.choice((("F16", "<f2"), ("F64", "<f8"), ("BF16", "")))
    place, pieces = 0, []
    for name in sorted((n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"]):
        start, stop = header[name]["data_offsets"]
        piece = np.frombuffer(data[start:stop], dtype="<f4")
        raw = (piece.view("<u4") >> 16).astype("<u2").tobytes() if wanted == "BF16" else piece.astype(kind).tobytes()
        header[name] |= {"dtype": wanted, "data_offsets": [place, place + len(raw)]}
        place += len(raw)
        pieces.append(raw)
    return join(header, b"".join(pieces))


def _names(rng: random.Random, header: Any, data: bytes, name: str) -> bytes:
    """Tensors under other names, or one taken away with its bytes left."""
    other = rng.choice(
        (name.replace("lora_A", "lora_B"), name.replace("base_model.model.", ""), name.replace(".weight", ".bias"),
        name + ".default",
         name.replace(".weight", ".default.weight"), name.replace("q_proj", "nobody"), name.replace("layers.0",
         "layers.9"), "", "x" * 600,
         name.replace("lora_A.weight", "lora_embedding_A"), name.replace("lora_A", "lora_magnitude_vector"),
         "\x1b[31m" + name,
         name.replace("base_model.model.model", "base_model.model..model"), "__metadata__", "../" + name, name.upper(),
         "a\n" + name)
    )  # fmt: skip
    entry = header.pop(name)
    if rng.random() < 0.85:
        header[other] = entry
    return join(header, data)


def _twice(rng: random.Random, header: Any, data: bytes, name: str) -> bytes:
    """A name that stands twice."""
    entry = dict(header[name])
    header[name] = Literal(f"{dumps(entry)}, {json.dumps(name)}: {dumps(rng.choice((entry, {**entry, 'shape': [1]})))}")
    return join(header, data)


def _metadata(rng: random.Random, header: Any, data: bytes, _name: str) -> bytes:
    header["__metadata__"] = rng.choice(
        (
            None,
            [],
            "x",
            {"format": 7},
            {"format": "tf"},
            {},
            {"format": "pt", "x": "y" * 100_000},
            {"a": None},
            hostile(rng),
            {"\x1b": "x"},
        )
    )
    return join(header, data)


def _lengths(rng: random.Random, header: Any, data: bytes, _name: str) -> bytes:
    """A length of the header that lies."""
    text = dumps(header).encode()
    length = rng.choice(
        (
            0,
            1,
            2,
            len(text) - 1,
            len(text) + 1,
            len(text) + len(data),
            2**31,
            2**63,
            2**64 - 1,
            8 * 2**20,
            100_000_000,
            -8,
        )
    )
    return join(text, data, length)


def _structure(rng: random.Random, header: Any, data: bytes, _name: str) -> bytes:
    return join(mutate_json(rng, header), data)


def _spelling(rng: random.Random, header: Any, data: bytes, _name: str) -> bytes:
    return join(misspell(rng, dumps(header)), data)


def _bytes(rng: random.Random, header: Any, data: bytes, _name: str) -> bytes:
    return mutate_bytes(rng, join(header, data))


def _size(rng: random.Random, header: Any, data: bytes, _name: str) -> bytes:
    return join(header, rng.choice((data[:-1], data + b"\0", data + data, b"", data[4:], data[: len(data) // 2])))


_WAYS: tuple[Callable[[random.Random, Any, bytes, str], bytes], ...] = (
    _numbers, _offsets, _shapes, _dtypes, _narrow, _names, _twice, _metadata, _lengths, _structure, _spelling, _bytes,
    _size,
)  # fmt: skip
_WEIGHTS = (22, 10, 12, 8, 6, 10, 3, 5, 6, 6, 4, 6, 4)
