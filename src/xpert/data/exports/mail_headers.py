"""The headers of a mail: who sent it, when, what it answers, and whether a person wrote it.

Knows encoded words and addresses. What cannot be read is empty.
"""

from __future__ import annotations

import re
from email.header import decode_header
from email.message import Message
from email.utils import parseaddr, parsedate_to_datetime

from xpert.data.exports.authors import Author
from xpert.data.exports.mail_charsets import decoded

_MOST = 2000
_ADDRESS = re.compile(r"[^\s<>\"'(),;:]{1,100}@[^\s<>\"'(),;:]{1,200}")
_ID = re.compile(r"<([^<>\s]{1,500})>")
_MACHINE = re.compile(
    r"(?:no-?_?\.?reply|do-?_?not-?_?reply|mailer-daemon|postmaster|bounces?|notifications?|newsletter)(?:[+._=-].*)?"
)
_UNKNOWN = Author("(unknown sender)", "(unknown sender)")
_UNNAMED = Author("(undisclosed recipients)", "(undisclosed recipients)")
_TO = ("To", "Cc", "Bcc", "Delivered-To")
_MOST_RECIPIENTS = 500


def header(message: Message, name: str) -> str:
    """The first header of a name as text, encoded words decoded; "" for none."""
    return _words(_raw(message, name))


def sender(message: Message) -> Author:
    """Who wrote the mail: the address in lower case, with the name beside it as another name."""
    raw = _raw(message, "From") or _raw(message, "Sender")
    try:
        name, address = parseaddr(raw)
    except (RecursionError, ValueError, IndexError):
        name, address = "", ""
    if not _ADDRESS.fullmatch(address):
        found = _ADDRESS.search(raw)
        name, address = name or raw.partition("<")[0], found[0] if found else ""
    name = _words(name).strip(" '\"")
    if not address:
        return Author(name.casefold(), name) if name else _UNKNOWN
    return Author(address.casefold(), address.casefold(), (name,))


def recipients(message: Message) -> list[Author]:
    """Who else received the mail; one without a name where the headers name nobody, since hidden copies are usual."""
    raw = [_raw(message, name, most=20_000) for name in _TO]
    found = dict.fromkeys(address.casefold() for text in raw for address in _ADDRESS.findall(text))
    found.pop(sender(message).id, None)
    return [Author(address, address) for address in list(found)[:_MOST_RECIPIENTS]] or [_UNNAMED]


def message_ids(message: Message, name: str) -> list[str]:
    """The ids in a header, in order."""
    return _ID.findall(_raw(message, name, most=20_000))


def date_of(message: Message) -> float | None:
    """When the mail was sent, in seconds; None where the header says nothing that can be read."""
    try:
        return parsedate_to_datetime(_raw(message, "Date")).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError, OSError):
        return None


def is_automatic(message: Message) -> bool:
    """True for answers of machines, bounces, newsletters and notifications."""
    said = _raw(message, "Auto-Submitted").partition(";")[0].strip().casefold()
    address = sender(message).id
    return (
        said not in ("", "no")
        or bool(_raw(message, "X-Autoreply") or _raw(message, "X-Autorespond"))
        or _raw(message, "Precedence").strip().casefold() in ("bulk", "junk", "auto_reply")
        or _raw(message, "Return-Path").strip() == "<>"
        or message.get_content_type() in ("multipart/report", "text/calendar", "message/delivery-status")
        or _MACHINE.fullmatch(address.partition("@")[0]) is not None
    )


def _raw(message: Message, name: str, most: int = _MOST) -> str:
    """A header as it stands, on one line; bytes beyond ASCII are taken for UTF-8."""
    for found, value in message.raw_items():
        if found.casefold() == name.casefold():
            text = str(value)[:most]
            content = text.encode("utf-8", "surrogateescape")
            return " ".join(decoded(content, None).split())
    return ""


def _words(text: str) -> str:
    if "=?" not in text:
        return text
    try:
        pieces = decode_header(text)
    except Exception:  # a broken encoded word raises binascii.Error, ValueError and others; it stays as it is
        return text
    return "".join(piece if isinstance(piece, str) else decoded(piece, charset) for piece, charset in pieces).strip()
