"""The value that holds a turn of a chat -> its text, or that it holds something that is no text.

Knows the shapes that programs give to content; does not know who wrote it. Errors never quote the text itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from xpert.errors import DataError

_KEYS = ("content", "parts", "text", "value", "message", "body")
"""Where a turn or a part of one keeps its text, the usual name first."""

TABLE_KEYS = (*_KEYS, "msg", "messagetext", "messagebody", "messagecontent", "textcontent", "contents", "response")
"""The same for a row of a table, by `bare` name."""

_NO_TEXT = re.compile(
    r"(input_|output_|text_)?(image|audio|video|voice|file|document|photo|picture|sticker|gif|media|attachment|location|"
    r"contact|poll)|(server_|mcp_|web_)?(tool|function|search)|reasoning|thinking|redacted|thoughts|step-|source|data-|"
    r"refusal|call|service|event|system|notification"
)
"""How the type of what the person did not write as text begins."""

_MEDIA_KEYS = frozenset(
    "image images imageurl audio video videos voice photo photos picture pictures sticker stickers gif gifs media "
    "mediatype attachment attachments experimentalattachments file files fileid filedata inlinedata inputaudio "
    "assetpointer functioncall functionresponse functioncalloutput toolcalls toolcallid toolinvocations".split()
)


@dataclass(frozen=True, slots=True)
class Content:
    """What a turn holds: its text (None: there is none), and whether there is proof of something that is no text."""

    text: str | None
    other: bool


@lru_cache(maxsize=4096)
def bare(name: object) -> str:
    """What the spellings of one column have in common: "Sender Name", "sender_name" and "senderName"."""
    return re.sub(r"[\W_]+", "", str(name)).casefold()


def named_values(values: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """The wanted values of a row by their `bare` names; no other column is looked at. An earlier spelling wins."""
    names = {bare(name): name for name in reversed(list(values))}
    return {name: values[names[name]] for name in names if name in wanted}


def read_content(where: str, values: Mapping[str, Any], keys: tuple[str, ...] = _KEYS) -> Content:
    """The text of a turn or row; the first of the keys that holds text wins.

    Args:
        where: file, row and message, for errors.
        values: the turn, with the `bare` names of its keys.
        keys: names under which text is looked for.

    Raises:
        DataError: the value is of a kind that no text has.
    """
    text: str | None = None
    other = _no_text(values) or any(values.get(key) for key in _MEDIA_KEYS & values.keys())
    for key in keys:
        if key not in values:
            continue
        found = _content(where, key, values[key])
        other = other or found.other
        if found.text is not None and found.text.strip():
            return Content(found.text, other)
        text = found.text if text is None else text
    return Content(text, other)


def checked_text(where: str, column: str, value: Any) -> str:
    """A value that must be text; nothing is the empty text.

    Raises:
        DataError: it is something else, or holds characters that no text has.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{where}: {column!r} is {kind_of(value)}, not text: write it as a string")
    if "\0" in value:
        raise DataError(f"{where}: {column!r} holds a zero character (U+0000): export the data again, or take it out")
    refuse_halves(where, column, value, "export the data again, as UTF-8")
    return value


def refuse_halves(where: str, column: str, text: str, way_out: str) -> None:
    """Refuse a text that holds half a character.

    Raises:
        DataError: it does; the text ends with `way_out`.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: {column!r} holds half a character (U+{ord(text[error.start]):04X}, a lone surrogate): {way_out}"
        ) from error


def kind_of(value: Any) -> str:
    """What a value is, in words for errors: "a number", never the value itself, which is personal."""
    kinds = {type(None): "nothing", str: "text", bool: "a truth value", int: "a number", float: "a number"}
    kinds |= {dict: "an object", list: "a list"}
    return kinds.get(type(value), f"of type {type(value).__name__}")


def _content(where: str, key: str, value: Any) -> Content:
    if value is None:
        return Content(None, False)
    if isinstance(value, list):
        found = [_content(where, key, part) for part in value]
        texts = [part.text for part in found if part.text is not None]
        return Content("\n".join(texts) if texts else None, any(part.other for part in found))
    if isinstance(value, dict):
        part = {bare(name): inner for name, inner in value.items()}
        return Content(None, True) if _no_text(part) else read_content(where, part)
    return Content(checked_text(where, key, value), False)


def _no_text(values: Mapping[str, Any]) -> bool:
    kind = values.get("type") or values.get("contenttype")
    return isinstance(kind, str) and _NO_TEXT.match(kind.strip().casefold()) is not None
