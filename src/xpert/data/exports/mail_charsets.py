"""Bytes of a mail and the charset that it names -> text.

Knows encodings; never fails, because mail often names the wrong one.
"""

from __future__ import annotations

import codecs

# No character sets, though Python calls them encodings; some take time in the square of the length.
_NO_CHARSETS = frozenset(
    {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7", "utf-7-imap"}
)


def decoded(content: bytes, charset: str | None) -> str:
    """Text in the charset that is named, else as UTF-8, else as Windows-1252; zero bytes are left out."""
    for name in (charset, "utf-8", "cp1252"):
        codec = _codec(name)
        if codec:
            try:
                text = content.decode(codec)
            except (UnicodeError, LookupError, ValueError):
                continue
            break
    else:
        text = content.decode("latin-1")
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "").removeprefix("\ufeff")


def _codec(charset: str | None) -> str | None:
    if not charset or len(charset) > 40:
        return None
    try:
        name = codecs.lookup(charset.strip(" '\"")).name
    except (LookupError, ValueError, UnicodeError):
        return None
    return None if name.replace("-", "_") in {one.replace("-", "_") for one in _NO_CHARSETS} else name
