"""Values of an export's JSON with the types that they must have, or an error that says which one is wrong.

Knows JSON; does not know programs. Errors never quote a value, which is personal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from xpert.data.contents import kind_of, refuse_halves
from xpert.errors import DataError

_AGAIN = "the export is damaged, export it again"


def parsed(text: str) -> Any:
    """The value of a JSON text; None where it is none, so that the generic formats can say what is wrong."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def objects(where: str, value: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a list, each with its place ("chat.json, message 3").

    Args:
        where: the file.
        value: what stands where the list should be.
        name: what one element is ("message").

    Raises:
        DataError: no list, or an element that is no object.
    """
    if not isinstance(value, list):
        raise DataError(f"{where}: {kind_of(value)} instead of the list of each {name}: {_AGAIN}")
    for number, item in enumerate(value, start=1):
        place = f"{where}, {name} {number}"
        if not isinstance(item, dict):
            raise DataError(f"{place} is {kind_of(item)}, not an object: {_AGAIN}")
        yield place, item


def text_of(where: str, value: Any, field: str) -> str:
    """A text, "" for none, with line breaks as \\n.

    Raises:
        DataError: something else, or half a character.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{where}: {field!r} is {kind_of(value)}, not text: {_AGAIN}")
    refuse_halves(where, field, value, _AGAIN)
    return value.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").strip()


def id_of(where: str, value: Any, field: str) -> str:
    """An id, which programs write as text or as a number; "" for none.

    Raises:
        DataError: something else.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**40:
        return str(value)
    return text_of(where, value, field)


def part_of(where: str, values: Mapping[str, Any], field: str) -> dict[str, Any]:
    """The object in a field; {} for none.

    Raises:
        DataError: something else.
    """
    value = values.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DataError(f"{where}: {field!r} is {kind_of(value)}, not an object: {_AGAIN}")
    return value


def moment_of(value: Any) -> float:
    """A time stamp as a number to sort by; 0 for what is none."""
    if isinstance(value, str):
        value = value.strip()
        if len(value) > 40:
            return 0.0
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return number if math.isfinite(number) else 0.0


def order_of(value: Any) -> int:
    """An id that grows with time as a number to sort by; 0 for what is none."""
    text = str(value) if isinstance(value, int | str) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 30 else 0
