"""The text that WhatsApp exports -> its conversation.

Knows the lines of Android and iOS in all orders of dates; notices of the program and stand-ins for media give no text.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from xpert.data.conversations import Message, same_author
from xpert.data.stamps import EDGES, MARKS, MOMENT, M
from xpert.data.whatsapp_words import ATTACHED, EDITED, LOOSE_STAND_IN, NOT_WRITTEN, STAND_IN, TAIL

_FORMS = (
    re.compile(rf"{M}\[{M}{MOMENT}{M}\][ \u00a0]?(?P<rest>.*)"),  # iOS
    re.compile(rf"{M}{MOMENT}{M}[\s]{M}[-–—]{M}\s(?P<rest>.*)"),  # Android
)
_COLON = re.compile(r":(?=\s|$)")
_OPTION = re.compile(r"\u200e?OPTION\b|\u200e[^:\n]{3,20}:")
_LONGEST_AUTHOR = 80
_MOST_WORDS = 6
_LABELS = frozenset("note ps p.s todo edit update fyi btw nb re fwd".split())
_QUOTES = '"“”„«»「」『』'


@dataclass(slots=True)
class _Entry:
    """One message or notice: the number of its line, what stands behind the date, and the lines below."""

    line: int
    rest: str
    below: list[str] = field(default_factory=list)


def whatsapp_messages(path: str, lines: Sequence[str], me: str | None) -> list[Message] | None:
    """The messages of a chat; None where these lines are no such export.

    Args:
        path: the file, for errors.
        lines: its text, without line breaks.
        me: an author that is looked for: a name may hold a colon.
    """
    for form in _FORMS:
        entries = _entries(form, lines)
        if not entries:
            continue
        authors = _authors([entry.rest for entry in entries], me)
        if _is_chat(lines, entries, authors):
            return [
                Message(
                    _clean(author), _spoken(entry.rest[len(author) + 1 :], entry.below), f"{path}, line {entry.line}"
                )
                for entry, author in zip(entries, authors, strict=True)
                if author is not None
            ]
    return None


def passage_of_chat(lines: Sequence[str]) -> int | None:
    """The number of the line with which a chat of several people begins inside of a text; None where there is none."""
    for form in _FORMS:
        found = [
            (number, match["rest"]) for number, line in enumerate(lines, start=1) if (match := form.fullmatch(line))
        ]
        authors = Counter(author for _, rest in found if (author := _first(rest, None)) is not None)
        if sum(count > 1 for count in authors.values()) > 1:
            return found[0][0]
    return None


def _entries(form: re.Pattern[str], lines: Sequence[str]) -> list[_Entry]:
    entries: list[_Entry] = []
    for number, line in enumerate(lines, start=1):
        found = form.fullmatch(line)
        if found is not None:
            entries.append(_Entry(number, found["rest"]))
        elif entries:
            entries[-1].below.append(line)
        elif number > 12 and line.strip():  # an export starts with a message, or in the middle of one
            return []
    return entries


def _is_chat(lines: Sequence[str], entries: Sequence[_Entry], authors: Sequence[str | None]) -> bool:
    named = [author for author in authors if author is not None]
    if not named:
        return False
    filled = sum(bool(line.strip()) for line in lines)
    if len(entries) == 1 and filled > 2:
        return False
    if any("\u200e" in entry.rest or NOT_WRITTEN.fullmatch(entry.rest.strip(" .")) for entry in entries):
        return True
    repeated = len(named) - len(set(named))
    if repeated >= len(named) / 4:
        return len(named) >= len(entries) / 5
    return len(named) >= (len(entries) / 2 if len(named) < 4 else len(entries))


def _authors(rests: Sequence[str], me: str | None) -> list[str | None]:
    """Who wrote each message; None for a notice. A colon may be part of a name."""
    firsts = [_first(rest, me) for rest in rests]
    behind: defaultdict[str, list[str]] = defaultdict(list)
    for first, rest in zip(firsts, rests, strict=True):
        if first is not None:
            behind[first].append(rest[len(first) + 1 :].lstrip())
    longer = {}
    for first, texts in behind.items():
        seconds = {_second(text) for text in texts}
        # All messages of a person go on in one way: that is their name, not what they say.
        if len(texts) > 1 and len(seconds) == 1 and (second := seconds.pop()):
            longer[first] = second
    known = set(behind)
    result: list[str | None] = []
    for first, rest in zip(firsts, rests, strict=True):
        if first is None or (len(behind[first]) == 1 and _is_notice(first, known)):
            result.append(None)
        elif first in longer and not (me is not None and same_author(first, me)):
            result.append(rest[: rest.index(longer[first], len(first) + 1) + len(longer[first])])
        else:
            result.append(first)
    return result


def _first(rest: str, me: str | None) -> str | None:
    places = [found.start() for found in _COLON.finditer(rest[: _LONGEST_AUTHOR + 1])]
    if not places:
        return None
    if me is not None:
        for place in places:
            if same_author(rest[:place], me):
                return rest[:place]
    name = _clean(rest[: places[0]])
    words = [word for word in name.split() if not word.strip("+()-").isdigit()]
    return rest[: places[0]] if name and len(words) <= _MOST_WORDS else None


def _second(text: str) -> str | None:
    found = _COLON.search(text[:40])
    name = text[: found.start()] if found else ""
    return name if name and "\u200e" not in name and name.casefold() not in _LABELS else None


def _is_notice(author: str, known: set[str]) -> bool:
    """Whether what stands before a colon is a sentence of the program: Mia changed the subject to "Trip: ..."."""
    if author.count('"') % 2 or any(quote in author for quote in _QUOTES[1:]):
        return True
    return any(
        author.startswith(f"{name} ") and len(author[len(name) :].split()) > 3 for name in known if name != author
    )


def _spoken(body: str, below: Sequence[str]) -> str:
    """What the person wrote of a message; empty where the program wrote all of it."""
    first = body.strip(" \u00a0")
    marked = first.startswith("\u200e")
    lines = [first, *below]
    if STAND_IN.fullmatch(first.strip("\u200e ")) or (marked and ATTACHED.fullmatch(first)):
        poll = first.strip("\u200e ").endswith(":") and any(_OPTION.match(line) for line in below)
        lines = [] if poll else list(below)
    elif marked:
        return ""
    text = EDITED.sub("", "\n".join(ATTACHED.sub("", line) for line in lines))
    text = "\n".join(_without_tail(line) for line in text.split("\n"))
    text = text.strip(EDGES)
    return "" if NOT_WRITTEN.fullmatch(text.rstrip(".。 ")) or STAND_IN.fullmatch(text) else text


def _without_tail(line: str) -> str:
    found = TAIL.search(line)
    return line[: found.start()] if found and LOOSE_STAND_IN.fullmatch(found[1].strip()) else line


def _clean(author: str) -> str:
    """A name without marks, and without the tilde of people who are no contacts."""
    return re.sub(r"^~\s*", "", re.sub(f"[{MARKS}]", "", author).strip()).strip()
