"""Structs of Thrift's compact protocol, in which Parquet keeps its footer and the headers of its pages.

Only what their sizes need: whole numbers, structs and lists; texts are skipped. A field counts only with the kind
that its definition has, since readers leave out a field of another kind.
"""

from __future__ import annotations

from typing import Any

I32, I64 = 5, 6
_LIST, _STRUCT = 9, 12
_DEEPEST = 16


class TooShortError(ValueError):
    """The bytes end before the struct does."""


class Struct:
    """Fields by their numbers."""

    def __init__(self, fields: dict[int, tuple[int, Any]]) -> None:
        self._fields = fields

    def number(self, field: int, kind: int = I32) -> int | None:
        """A whole number, None where there is none."""
        return self._get(field, kind)  # type: ignore[no-any-return]  # of that kind

    def struct(self, field: int) -> Struct | None:
        """A struct, None where there is none."""
        return self._get(field, _STRUCT)  # type: ignore[no-any-return]  # of that kind

    def structs(self, field: int) -> list[Struct]:
        """A list of structs, empty where there is none."""
        found = self._get(field, _LIST) or []
        if not all(isinstance(one, Struct) for one in found):
            raise ValueError(f"field {field} holds other values")
        return list(found)

    def _get(self, field: int, kind: int) -> Any:
        found, value = self._fields.get(field, (kind, None))
        if found != kind:
            raise ValueError(f"field {field} is of another kind")
        return value


def read_struct(content: bytes, at: int = 0, depth: int = 0) -> tuple[Struct, int]:
    """The struct at a place, and where it ends.

    Raises:
        TooShortError: the bytes end before it does.
        ValueError: it is none.
    """
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    fields: dict[int, tuple[int, Any]] = {}
    number = 0
    while True:
        head, at = _byte(content, at)
        kind = head & 15
        if kind == 0:
            return Struct(fields), at
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(content, at)
        if number in fields:
            raise ValueError("a field stands there twice")
        value, at = (kind == 1, at) if kind in (1, 2) else _value(content, at, kind, depth)
        fields[number] = kind, value


def _value(content: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2, 3):
        return _byte(content, at)
    if kind in (4, I32, I64):
        return _integer(content, at)
    if kind == 7:
        return None, _skip(content, at, 8)
    if kind == 8:
        length, at = _natural(content, at)
        return None, _skip(content, at, length)
    if kind == _LIST:
        return _list(content, at, depth + 1)
    if kind == _STRUCT:
        return read_struct(content, at, depth + 1)
    raise ValueError(f"a value of kind {kind}")  # Parquet has no sets and maps


def _list(content: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    head, at = _byte(content, at)
    count, kind = head >> 4, head & 15
    if count == 15:
        count, at = _natural(content, at)
    if count > len(content) - at:  # each element takes a byte or more
        raise TooShortError("a list that is longer than what holds it")
    values = []
    for _ in range(count):
        value, at = _value(content, at, kind, depth)
        values.append(value)
    return values, at


def _byte(content: bytes, at: int) -> tuple[int, int]:
    if at >= len(content):
        raise TooShortError("it ends too early")
    return content[at], at + 1


def _skip(content: bytes, at: int, count: int) -> int:
    if count > len(content) - at:
        raise TooShortError("it ends too early")
    return at + count


def _natural(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = _byte(content, at)
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number that is too long")


def _integer(content: bytes, at: int) -> tuple[int, int]:
    value, at = _natural(content, at)
    return (value >> 1) ^ -(value & 1), at
