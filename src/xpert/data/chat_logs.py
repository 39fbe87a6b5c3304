"""A text in which several people write -> its conversation, whatever program wrote it down.

Knows the lines of chat programs and transcripts; stories, diaries and lists of questions are none. A text that cannot
be told from a chat counts as one: then a name is asked for, and nobody else's words are learned.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xpert.data.conversations import Conversation, Message
from xpert.data.labels import is_label
from xpert.data.stamps import DATE, EDGES, MOMENT, TIME, M
from xpert.data.whatsapp import passage_of_chat, whatsapp_messages
from xpert.errors import DataError

_NAME = r"(?P<name>[^\s:\[\]<>(){}#>*-][^:\[\]<>(){}\n]{0,39}?)"
_NICK = r"<\s?[@+%&~!]?(?P<name>[^<>\s/][^<>\n]{0,39})>"
_STAMP = rf"(?:{MOMENT}|{DATE}|{TIME})"
_EXACT = rf"(?:{MOMENT}|{TIME})"
_DAY = r"(?:(?:Today|Yesterday|Heute|Gestern|Hoy|Ayer|Aujourd’hui|Hier|Oggi|Ieri)(?:\s(?:at|um|a las|à|alle))?\s)"
_BOLD = r"(?:\*\*|__)?"
_MOST_WORDS = 4
_LOOKED_AT = 400  # lines out of a text that tell whether a form is worth trying on all of them
_ANY_DATE = re.compile(DATE)
_SIDES = (
    frozenset({"you", "user", "human", "me", "prompt", "ich", "du", "yo", "tú", "moi", "vous"}),
    frozenset(
        "assistant ai chatgpt claude gemini copilot bard bot chatbot gpt gpt-4 llama mistral deepseek grok".split()
    ),
)


@dataclass(frozen=True, slots=True)
class _Form:
    """How the lines of one kind of log look.

    Attributes:
        line: a line with which a message starts; groups `name` and, unless it stands below, `text`.
        notice: any other line that ends a message and is none.
        sure: such lines are hardly ever written but by a program.
        least: share of lines, or of paragraphs, that must be such.
    """

    line: re.Pattern[str]
    notice: re.Pattern[str] | None
    sure: bool
    least: float


def _form(line: str, notice: str | None = None, *, sure: bool = True, least: float = 0.1) -> _Form:
    return _Form(re.compile(M + line), None if notice is None else re.compile(M + notice), sure, least)


_FORMS = (
    _form(rf"[\[(]{_STAMP}[\])]\s*{_NICK}\s(?P<text>.*)", r"[\[(].*"),
    _form(rf"{_STAMP}\s+{_NICK}\s(?P<text>.*)", rf"{_STAMP}.*"),
    _form(rf"{_NICK}\s(?P<text>.*)", r"\*.*", sure=False, least=0.8),
    _form(rf"[\[(]{M}{_EXACT}{M}[\])]\s*(?:[-–]\s*)?{_NAME}:(?:\s(?P<text>.*)|$)", rf"[\[(]{_EXACT}[\])].*"),
    _form(rf"[\[(]{DATE}[\])]\s*{_NAME}:(?:\s(?P<text>.*)|$)", rf"[\[(]{DATE}[\])].*", sure=False, least=0.5),
    _form(rf"{_STAMP}\t[@+%&]?(?P<name>[^\t\n]{{1,40}}?):?\t(?P<text>.*)", rf"{_STAMP}\t.*"),
    _form(rf"{TIME}\s+From\s+(?P<name>.{{1,60}}?)(?:\s+[Tt]o\s+[^:\n]{{1,60}}?)?\s?:\s*(?P<text>.*)", None),
    _form(rf"(?:{MOMENT})(?:\s*[-–|,>:]\s*|\s+){_NAME}:(?:\s(?P<text>.*)|$)", rf"{MOMENT}.*"),
    _form(rf"{_STAMP}(?:\s*[-–|,>:]\s*|\s+){_NAME}:(?:\s(?P<text>.*)|$)", rf"{_STAMP}.*", sure=False, least=0.5),
    _form(rf"{_NAME},?\s*[\[(]{_DAY}?{_STAMP}[\])]\s*:\s*(?P<text>.*)"),
    _form(rf"{_NAME},?\s+{_DAY}?{_STAMP}\s*:\s+(?P<text>.*)"),
    _form(rf"{_NAME}(?:,\s*|\s+[—–-]\s*|\s+)[\[(]?{_DAY}?{_EXACT}[\])]?:?\s*"),
    _form(rf"[\[(]{_EXACT}[\])]\s+{_NAME}\s*", r"={20,}"),
    _form(
        rf"(?:[#]+\s)?{_BOLD}(?P<name>[\w-]+){_BOLD}(?:\ssaid:?|:){_BOLD}(?:\s+(?P<text>.*)|$)", sure=False, least=0.0
    ),
    _form(rf"(?:[-*]\s)?{_BOLD}(?P<name>[^\W\d_][\w.'’ -]{{0,29}}?):{_BOLD}:?\s(?P<text>.*)", sure=False, least=0.9),
)
_SIDED, _BARE = _FORMS[-2:]


@dataclass(slots=True)
class _Start:
    line: int
    name: str
    texts: list[str] = field(default_factory=list)


def read_chat_log(path: Path, text: str, me: str | None = None) -> Conversation | None:
    """The conversation that a text holds; None where it is the text of one writer, or nothing that is known.

    Args:
        path: the file, for errors.
        text: its content.
        me: an author that is looked for.
    """
    lines = re.split(r"\r\n|\r|\n", text)
    found = whatsapp_messages(str(path), lines, me)
    if found is not None:
        return found
    step = max(1, len(lines) // _LOOKED_AT)
    some = [*lines[: _LOOKED_AT // 8], *lines[::step]]
    for form in _FORMS:
        if not any(form.line.fullmatch(line) for line in some):
            continue
        starts = _starts(form, lines)
        if _is_log(form, starts, lines):
            return [
                Message(start.name, "\n".join(start.texts).strip(EDGES), f"{path}, line {start.line}")
                for start in starts
            ]
    return _stamped_blocks(path, lines)


def check_no_chat_inside(path: Path, text: str) -> None:
    """Refuse a text of one writer with a chat in it, whose other people would become the writer.

    Raises:
        DataError: there is one; the text names the line.
    """
    line = passage_of_chat(re.split(r"\r\n|\r|\n", text))
    if line is not None:
        raise DataError(
            f"{path}, line {line}: a chat of several people begins here, inside of another text: move it to a file of "
            "its own, and say with --me NAME which of them you are"
        )


def _starts(form: _Form, lines: Sequence[str]) -> list[_Start]:
    starts: list[_Start] = []
    silent = True
    for number, line in enumerate(lines, start=1):
        found = form.line.fullmatch(line)
        if found is not None and (_side(found["name"]) is not None if form is _SIDED else _may_be_name(found["name"])):
            text = found.groupdict().get("text")
            starts.append(_Start(number, found["name"].strip(), [] if text is None else [text]))
            silent = False
        elif form.notice is not None and form.notice.fullmatch(line):
            silent = True
        elif starts and not silent:
            starts[-1].texts.append(line)
    return starts


def _may_be_name(name: str) -> bool:
    return len(name.split()) <= _MOST_WORDS and _ANY_DATE.search(name) is None


def _is_log(form: _Form, starts: Sequence[_Start], lines: Sequence[str]) -> bool:
    filled = [number for number, line in enumerate(lines, start=1) if line.strip()]
    if len(starts) < 2:
        return False
    first = filled.index(starts[0].line)
    if form is _SIDED:
        return first == 0 and {_side(start.name) for start in starts} == {0, 1}
    names = Counter(start.name.casefold() for start in starts)
    labels = sum(count for name, count in names.items() if is_label(name))
    if 2 * labels >= len(starts):
        return False
    if "text" not in form.line.groupindex and sum(any(map(str.strip, start.texts)) for start in starts) < 0.8 * len(
        starts
    ):
        return False
    share = max(len(starts) / len(filled), _share_of_paragraphs(form, lines) if not form.sure else 0)
    talkers = [count for count in names.values() if count > 1]
    if form.sure:
        near = (first == 0 and share >= form.least) or (first <= 12 and share >= 0.15) or share >= 0.4
        return near and (len(starts) < 4 or sum(talkers) >= len(starts) / 4)
    if share < form.least or len(talkers) < 2 or sum(talkers) < 0.7 * len(starts):
        return False
    return form is not _BARE or not _are_records(starts, lines)


def _share_of_paragraphs(form: _Form, lines: Sequence[str]) -> float:
    """The share of paragraphs that start with a name: a speaker may say several lines."""
    heads = [line for before, line in zip(["", *lines], lines, strict=False) if line.strip() and not before.strip()]
    return sum(form.line.fullmatch(line) is not None for line in heads) / len(heads) if len(heads) > 3 else 0


def _are_records(starts: Sequence[_Start], lines: Sequence[str]) -> bool:
    """Whether labels come around in one order, as on the cards of a list; people do not talk like that."""
    names = [start.name.casefold() for start in starts]
    period = len(set(names))
    return period > 2 and all(name == later for name, later in zip(names, names[period:], strict=False))


def _side(name: str) -> int | None:
    return next((side for side, known in enumerate(_SIDES) if name.casefold() in known), None)


def _stamped_blocks(path: Path, lines: Sequence[str]) -> Conversation | None:
    """Messages under two lines of their own, the date and the name, parted by blank lines."""
    stamp = re.compile(rf"{M}{MOMENT}(?:\s\([^()\n]*\))?\s*")
    messages: list[Message] = []
    blocks, start = 0, 0
    for number in range(1, len(lines) + 1):
        if number == len(lines) or (stamp.fullmatch(lines[number]) and not lines[number - 1].strip()):
            block = lines[start:number]
            blocks += bool("".join(block).strip())
            if stamp.fullmatch(block[0]) and len(block) > 2 and 0 < len(block[1].strip()) <= 40:
                messages.append(Message(block[1].strip(), "\n".join(block[2:]).strip(), f"{path}, line {start + 1}"))
            start = number
    names = Counter(message.author for message in messages)
    talkers = [count for count in names.values() if count > 1]
    return messages if len(talkers) > 1 and sum(talkers) >= 0.8 * len(messages) >= 0.64 * blocks else None
