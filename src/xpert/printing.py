"""Text that strangers wrote, as a terminal may show it. Knows characters only."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves a cursor, starts an escape sequence, turns the direction of text, or is half a character."""


def printable(text: str, most: int | None = None) -> str:
    """Text without characters that act on a terminal: each becomes a question mark; tabs and ends of lines stay.

    Args:
        text: from anywhere.
        most: characters that are kept; what is longer ends with an ellipsis.
    """
    if most is not None and len(text) > most:
        text = text[: most - 1] + "…"
    return _UNPRINTABLE.sub("?", text.replace("\r\n", "\n"))
