"""Text that strangers wrote, as a terminal may show it. Knows characters only."""

from __future__ import annotations

import re

_ACTING = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # what moves a cursor or starts an escape sequence
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # what turns the direction of text, or ends a line
    "\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"  # what takes no place, so that names look alike
    "\U000e0000-\U000e007f"  # letters that nobody sees
    "\ud800-\udfff"  # halves of a character
)
_UNPRINTABLE = re.compile(f"[{_ACTING}]")
_IN_NAMES = re.compile(f"[{_ACTING}\u00ad\u034f\u115f\u1160\u17b4\u17b5\u200c\u200d\u3164\uffa0]")
"""In names also what has a use in texts, such as the joiner in emoji, and can hide there."""


def printable(text: str, most: int | None = None) -> str:
    """Text without characters that act on a terminal: each becomes a question mark; tabs and ends of lines stay.

    Args:
        text: from anywhere.
        most: characters that are kept; what is longer ends with an ellipsis.
    """
    if most is not None and len(text) > most:
        text = text[: most - 1] + "…"
    return _UNPRINTABLE.sub("?", text.replace("\r\n", "\n"))


def printable_name(name: object, most: int = 200) -> str:
    """A name or path as one line, without what acts on a terminal or hides; of a long one the middle is cut."""
    text = _IN_NAMES.sub("?", " ".join(str(name).split()))
    if len(text) > most:
        tail = most // 3
        text = f"{text[: most - tail - 1]}…{text[-tail:]}"
    return text


def escaped_json(document: str) -> str:
    """A JSON document whose strings hold such characters as escapes; it means the same."""

    def escape(found: re.Match[str]) -> str:
        units = found[0].encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))

    return _UNPRINTABLE.sub(escape, document)
