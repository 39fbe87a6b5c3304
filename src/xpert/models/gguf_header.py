"""The header of a GGUF file, read strictly: such files come from strangers.

Knows bytes only; reads no tensor. A file is

    "GGUF" | version | number of tensors | number of settings | settings | names, shapes, types, places | the tensors

and is refused unless every count and length fits into the file, and every tensor lies inside it, apart from the others.
"""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from xpert.errors import DamagedModelError, MissingModelError, extra_install
from xpert.printing import printable

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_SETTINGS, _MOST_TENSORS, _MOST_AXES = 2**14, 2**17, 4
_MOST_NAME, _MOST_TEXT, _MOST_ARRAY = 2**10, 2**22, 2**22
_MOST_HEADER = 2**28
_KEPT = 4096  # longer arrays are vocabularies, which others read
_STRING, _ARRAY = 8, 9
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor: its axes as the file has them (the fastest first), type, first byte in the file and bytes."""

    axes: tuple[int, ...]
    kind: str
    start: int
    size_bytes: int

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.axes)


@dataclass(frozen=True, slots=True)
class GgufFacts:
    """What a header says.

    Attributes:
        path: the file.
        architecture: as llama.cpp calls it.
        settings: key -> value; of an array of texts, or a long one, its length only.
        tensors: name -> what it is.
    """

    path: Path
    architecture: str
    settings: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]

    @property
    def numbers(self) -> int:
        """Numbers in all tensors."""
        return sum(tensor.numbers for tensor in self.tensors.values())

    @property
    def quantisation(self) -> str:
        """The type of most of its numbers, such as Q4_K."""
        found: Counter[str] = Counter()
        for tensor in self.tensors.values():
            found[tensor.kind] += tensor.numbers
        return found.most_common(1)[0][0]

    def of_model(self, key: str, default: Any = None) -> Any:
        """A setting of the architecture, such as `block_count`."""
        return self.settings.get(f"{self.architecture}.{key}", default)


def is_gguf(path: Path) -> bool:
    """Whether a regular file is a GGUF file by its first bytes."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(4) == MAGIC
    except (OSError, ValueError):
        return False


def read_gguf_header(path: Path) -> GgufFacts:
    """What the header of a file says, seen to fit the file.

    Raises:
        MissingModelError: no such regular file, or the package `gguf` is not installed, which knows the types.
        DamagedModelError: it is truncated, of another format, or its header lies.
    """
    try:
        if not path.is_file():
            raise MissingModelError(f"{path} is no regular file: give a GGUF file")
        with path.open("rb") as stream:
            return _Reader(path, stream, path.stat().st_size).read()
    except OSError as error:
        raise MissingModelError(f"{path} cannot be read ({error.strerror or error}): check path and rights") from error


def block_sizes() -> dict[int, tuple[str, int, int]]:
    """Number of a type of tensors -> its name, numbers in a block, bytes of a block.

    Raises:
        MissingModelError: the package `gguf` is not installed.
    """
    try:
        from gguf.constants import GGML_QUANT_SIZES
    except ImportError as error:
        raise MissingModelError(f"GGUF files are read with the package gguf; {extra_install('gguf')}") from error
    return {int(kind): (kind.name, int(block), int(size)) for kind, (block, size) in GGML_QUANT_SIZES.items()}


class _Reader:
    """Reads one header from its start."""

    def __init__(self, path: Path, stream: BinaryIO, size: int) -> None:
        self._path, self._stream, self._size, self._at = path, stream, size, 0

    def read(self) -> GgufFacts:
        if (magic := self._bytes(4, "its first bytes")) != MAGIC:
            raise self._fault(f"starts with {magic!r} and not with {MAGIC!r}, so it is no GGUF file")
        version = self._number("I")
        if version not in _VERSIONS:
            byte_order = " (in the byte order of other machines)" if version % 2**16 == 0 else ""
            raise self._fault(f"is of version {version}{byte_order}, and only 2 and 3 are read")
        tensors, settings = self._number("Q"), self._number("Q")
        if not 0 < tensors <= _MOST_TENSORS or settings > _MOST_SETTINGS:
            raise self._fault(
                f"announces {tensors} tensors and {settings} settings; 1 to {_MOST_TENSORS} and at most "
                f"{_MOST_SETTINGS} can be"
            )
        known = self._settings(settings)
        architecture = known.get("general.architecture")
        if not isinstance(architecture, str) or not _ARCHITECTURE.fullmatch(architecture):
            raise self._fault("does not say what model it holds (general.architecture)")
        return GgufFacts(self._path, architecture, known, self._tensors(tensors, known.get("general.alignment", 32)))

    def _settings(self, count: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(count):
            key = self._text(_MOST_NAME, "the name of a setting")
            if key in found:
                raise self._fault(f"has the setting {printable(key, 80)!r} twice")
            found[key] = self._value(self._number("I"), key)
        return found

    def _value(self, kind: int, key: str) -> Any:
        if kind in _FORMATS:
            return self._number(_FORMATS[kind])
        if kind == _STRING:
            return self._text(_MOST_TEXT, f"setting {printable(key, 80)!r}")
        if kind != _ARRAY:
            raise self._fault(f"has setting {printable(key, 80)!r} of type {kind}, which the format does not have")
        inner, count = self._number("I"), self._number("Q")
        if count > _MOST_ARRAY or (inner not in _FORMATS and inner != _STRING):
            raise self._fault(f"has setting {printable(key, 80)!r} with {count} values of type {inner}")
        if inner == _STRING:
            for _ in range(count):
                self._bytes(self._length(_MOST_TEXT, f"setting {printable(key, 80)!r}"), "a text")
            return count
        code = _FORMATS[inner]
        raw = self._bytes(count * struct.calcsize(f"<{code}"), f"setting {printable(key, 80)!r}")
        return list(struct.unpack(f"<{count}{code}", raw)) if count <= _KEPT else count

    def _tensors(self, count: int, alignment: object) -> dict[str, GgufTensor]:
        if type(alignment) is not int or not 8 <= alignment <= 2**20 or alignment & (alignment - 1):
            raise self._fault(f"gives an alignment of {printable(str(alignment), 40)}, which is no power of two")
        blocks, found = block_sizes(), dict[str, tuple[tuple[int, ...], str, int, int]]()
        for _ in range(count):
            name = self._text(_MOST_NAME, "the name of a tensor")
            shown, axes = printable(name, 80), self._number("I")
            if name in found or not 0 < axes <= _MOST_AXES:
                raise self._fault(f"has tensor {shown!r} twice, or with {axes} axes; 1 to {_MOST_AXES} can be")
            sizes = tuple(self._number("Q") for _ in range(axes))
            kind, offset = self._number("I"), self._number("Q")
            if kind not in blocks:
                raise self._fault(f"holds tensor {shown!r} in type {kind}, which this version of gguf does not know")
            called, block, width = blocks[kind]
            if not all(0 < size < 2**40 for size in sizes) or sizes[0] % block or offset % alignment:
                raise self._fault(f"gives tensor {shown!r} sizes {sizes} in {called} at {offset}, which cannot be")
            found[name] = (sizes, called, offset, math.prod(sizes) // block * width)
        origin = -(-self._at // alignment) * alignment
        end = origin
        for name, (_, _, offset, size) in sorted(found.items(), key=lambda entry: entry[1][2]):
            if origin + offset < end or origin + offset + size > self._size:
                raise self._fault(
                    f"places tensor {printable(name, 80)!r} at bytes {origin + offset} to {origin + offset + size} of "
                    f"{self._size}, outside the file or over another: it is truncated or lies"
                )
            end = origin + offset + size
        return {
            name: GgufTensor(sizes, kind, origin + offset, size) for name, (sizes, kind, offset, size) in found.items()
        }

    def _number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._bytes(struct.calcsize(f"<{code}"), "a number"))[0]

    def _length(self, most: int, what: str) -> int:
        length: int = self._number("Q")
        if length > most:
            raise self._fault(f"announces {length} bytes for {what}, at most {most} can be")
        return length

    def _text(self, most: int, what: str) -> str:
        raw = self._bytes(self._length(most, what), what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._fault(f"has bytes that are no UTF-8 in {what}") from error

    def _bytes(self, count: int, what: str) -> bytes:
        if count > min(self._size, _MOST_HEADER) - self._at:
            raise self._fault(f"ends inside its header ({what})")
        raw = self._stream.read(count)
        if len(raw) != count:
            raise self._fault("became shorter while it was read")
        self._at += count
        return raw

    def _fault(self, said: str) -> DamagedModelError:
        return DamagedModelError(f"{self._path} {said}: download it again, or give another model")
