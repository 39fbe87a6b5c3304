"""The body of a mail -> what its writer wrote: quotes, the lines before them, and signatures are cut off.

Knows lines of text in many languages. mail-parser-reply and quotequail were looked at: the first takes every list with
hyphens for a signature and has expressions that take exponential time, the second keeps signatures and short quotes.
"""

from __future__ import annotations

import re

from xpert.data.exports import mail_phrases as phrases

_LONGEST_LINE = 400
_WRAPPED = 3


def own_words(body: str) -> str:
    """The writer's own text; "" where there is none.

    Lines that start with ">" are dropped with the line that announces them, so that answers between quotes stay.
    From a forwarded or quoted mail without such marks, a signature ("-- ") or a mail's headers on, all is cut.
    """
    lines = [line.rstrip() for line in _without_pgp(body).split("\n")]
    kept: list[str] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        if _is_quote(line):
            number += 1
            continue
        announced = _announcement(lines, number)
        if announced is not None:
            if announced == len(lines) or _is_quote(lines[announced]):
                number = announced
                continue
            if _names_a_mail(" ".join(lines[number:announced])):
                break
        if _ends_here(lines, number):
            break
        if not (_short(line) and phrases.SENT_FROM.fullmatch(line.strip()) and _is_last(lines, number + 1)):
            kept.append(line)
        number += 1
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()


def _without_pgp(body: str) -> str:
    if "-----BEGIN PGP MESSAGE-----" in body:
        return ""
    start = "-----BEGIN PGP SIGNED MESSAGE-----"
    if start in body:
        body = body.partition(start)[2].partition("\n\n")[2]
    return body.partition("-----BEGIN PGP SIGNATURE-----")[0]


def _is_quote(line: str) -> bool:
    return line.lstrip(" \t\u200b").startswith(">")


def _short(line: str) -> bool:
    return len(line) <= _LONGEST_LINE


def _announcement(lines: list[str], number: int) -> int | None:
    """Where the text after "On ... wrote:" begins; None where no such line stands here. It may be wrapped."""
    if not lines[number].strip():
        return None
    joined = ""
    for end in range(number, min(number + _WRAPPED, len(lines))):
        if not lines[end].strip() or _is_quote(lines[end]):
            return None
        joined = f"{joined} {lines[end].strip()}".strip()
        if not _short(joined):
            return None
        if joined.endswith((":", "：")):
            after = _skip_blank(lines, end + 1)
            quoted = after < len(lines) and _is_quote(lines[after])
            return after if _announcement_start(lines[number : end + 1], quoted) == 0 else None
    return None


def _announcement_start(lines: list[str], quoted: bool) -> int | None:
    """Of lines that end with a colon, where the announcement of a quote starts: as late as it can."""
    for start in reversed(range(len(lines))):
        if phrases.STARTED.fullmatch(" ".join(line.strip() for line in lines[start:])):
            return start
    last = lines[-1].strip()
    return len(lines) - 1 if phrases.WROTE.fullmatch(last) or (quoted and _names_a_mail(last)) else None


def _names_a_mail(text: str) -> bool:
    """True for a date, a time or an address, which tells "On 3 May Wen wrote:" from "As the poet wrote:"."""
    return phrases.DATE_OR_ADDRESS.search(text) is not None


def _skip_blank(lines: list[str], number: int) -> int:
    while number < len(lines) and not lines[number].strip():
        number += 1
    return number


def _ends_here(lines: list[str], number: int) -> bool:
    line = lines[number].strip()
    if line in ("--", "—", "-- "):
        return True
    if not _short(line):
        return False
    if phrases.SEPARATOR.fullmatch(line) or phrases.FORWARDED.fullmatch(line):
        return True
    if phrases.RULE.fullmatch(line):
        after = _skip_blank(lines, number + 1)
        return after < len(lines) and (_is_header_block(lines, after) or "mailing list" in lines[after].casefold())
    return _is_header_block(lines, number)


def _is_header_block(lines: list[str], number: int) -> bool:
    """True where "From: ..." stands, with at least two more headers right below it."""
    if not phrases.FROM.match(lines[number][:_LONGEST_LINE]):
        return False
    below = [line[:_LONGEST_LINE] for line in lines[number + 1 : number + 9]]
    return sum(phrases.HEADER.match(line) is not None for line in below) >= 2


def _is_last(lines: list[str], number: int) -> bool:
    """True where nothing of the writer's own follows."""
    after = _skip_blank(lines, number)
    return (
        after == len(lines)
        or _is_quote(lines[after])
        or _announcement(lines, after) is not None
        or _ends_here(lines, after)
    )
