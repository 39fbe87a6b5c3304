"""The body of a mail as text: plain text where there is any, else HTML; no attachments.

Knows MIME; does not know quotes and signatures.
"""

from __future__ import annotations

from email.message import Message

from xpert.data.exports.mail_charsets import decoded
from xpert.data.exports.mail_html import html_text

_DEEPEST = 30
_MOST_CHARACTERS = 1_000_000


def body_text(message: Message) -> str:
    """What the mail says, with line breaks as \\n."""
    return _text(message, 0)[:_MOST_CHARACTERS].strip()


def _text(part: Message, depth: int) -> str:
    if depth > _DEEPEST:
        return ""
    kind = part.get_content_type()
    if part.is_multipart():
        if kind.startswith("message/"):
            return ""  # a mail as an attachment
        parts = [one for one in part.get_payload() if isinstance(one, Message)]
        if kind == "multipart/alternative":
            return _best(parts, depth)
        if kind == "multipart/related":
            parts = parts[:1]
        texts = [_text(one, depth + 1).strip() for one in parts]
        return "\n\n".join(text for text in texts if text)
    if _is_attachment(part):
        return ""
    if kind == "text/plain":
        return _plain(part)
    return html_text(_decoded(part)) if kind == "text/html" else ""


def _best(parts: list[Message], depth: int) -> str:
    """Of alternatives the plain one, which comes first; where it says nothing, the next that says something."""
    plain = [one for one in parts if one.get_content_type() == "text/plain"]
    others = [one for one in parts if one not in plain]
    for one in [*plain, *others]:
        text = _text(one, depth + 1)
        if text.strip():
            return text
    return ""


def _is_attachment(part: Message) -> bool:
    return part.get_content_disposition() == "attachment" or part.get_filename() is not None


def _plain(part: Message) -> str:
    text = _decoded(part)
    if str(part.get_param("format", "")).casefold() != "flowed":
        return text
    joined = "" if str(part.get_param("delsp", "")).casefold() == "yes" else " "
    return _unflowed(text, joined)


def _unflowed(text: str, joined: str) -> str:
    """Lines of format=flowed (RFC 3676): a space at the end says that the line goes on."""
    lines: list[str] = []
    pending = ""
    for line in text.split("\n"):
        quoted = line.startswith(">")
        unstuffed = line[1:] if line.startswith(" ") else line
        if quoted or unstuffed == "-- ":
            lines += [pending.rstrip(" ")] if pending else []
            pending = ""
            lines.append(unstuffed)
        elif unstuffed.endswith(" "):
            pending += unstuffed[:-1] + joined
        else:
            lines.append(pending + unstuffed)
            pending = ""
    return "\n".join([*lines, pending.rstrip(" ")] if pending else lines)


def _decoded(part: Message) -> str:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    charset = part.get_param("charset")
    text = decoded(content[: 4 * _MOST_CHARACTERS], charset if isinstance(charset, str) else None)
    return text.replace("\r\n", "\n").replace("\r", "\n")
