"""Messages of several people -> samples of the one whose data it is.

Knows authors and the order of messages; does not know which program exported them.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from xpert.errors import DataError
from xpert.printing import printable
from xpert.records import Sample

_LISTED = 20
_LONGEST_NAME = 60
_MOST_WORDS = 6
"""Of a name; sentences stand where names belong in tables whose columns were mixed up."""
MARKS = dict.fromkeys(map(ord, "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"))
"""Characters of names that only turn the direction of text, for `str.translate`."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        author: who wrote it, as the source names them.
        text: what they wrote; no notices of the program, no stand-ins for media that was left out. Empty where the
            message held nothing but such a thing: it gives no text, yet parts what comes before it from what comes
            after.
        where: file and number of the message, for errors.
        context: the message is part of another conversation, and stands here only as the prompt of what follows: it
            gives no sample and does not count.
    """

    author: str
    text: str
    where: str
    context: bool = False


Conversation = Sequence[Message]
"""Messages in the order in which they were sent; the messages of one chat, channel or mail thread."""


def chosen_author(source: str, conversations: Iterable[Conversation], me: str | None) -> str | None:
    """The author whose data it is, of all who wrote in these conversations; None where nobody wrote a text.

    Args:
        source: file or folder, for errors.
        conversations: all of them.
        me: the author, in any case; None: where there is one author only, also of messages without text, that one.

    Raises:
        DataError: several authors and no `me`, or an author that is not there; the text lists the authors with the
            number of their messages.
    """
    counts: Counter[str] = Counter()
    spelled: dict[str, str] = {}
    for message in (message for conversation in conversations for message in conversation):
        if not message.context:
            # Who sent no text takes part too: then the one who did may be somebody else than the person.
            counts[author_key(message.author)] += bool(message.text.strip())
            spelled.setdefault(author_key(message.author), message.author)
    if not any(counts.values()):
        return None
    authors = [(spelled[key], count) for key, count in counts.most_common()]
    if me is None and len(counts) > 1:
        raise DataError(
            f"{printable(source)} has messages of {len(counts)} authors ({_listed(authors)}): say which one you are "
            "with --me NAME (in Python me='NAME')"
        )
    if me is not None and not counts[author_key(me)]:
        raise DataError(
            f"{printable(source)} has no message of {printable(me, _LONGEST_NAME)!r}; its authors are "
            f"{_listed(authors)}: give one of these names with --me NAME (in Python me='NAME')"
        )
    return authors[0][0] if me is None else me


def samples_of(conversation: Conversation, author: str) -> Iterator[Sample]:
    """The messages of one author, each with the message of somebody else before it as its prompt.

    Messages that one author sends in a row are one text, joined by line breaks.
    """
    mine = author_key(author)
    before: str | None = None
    for (writer, context), run in groupby(
        conversation, key=lambda message: (author_key(message.author), message.context)
    ):
        text = "\n".join(filter(None, (message.text.strip() for message in run)))
        if text and writer != mine:
            before = text
        elif text and not context:
            yield Sample(before, text)
            before = None


def same_author(name: str, other: str) -> bool:
    """Whether two spellings are one author: case, width, white space and marks of direction do not count."""
    return author_key(name) == author_key(other)


def author_key(author: str) -> str:
    """What two spellings of one author have in common: case, width, white space and marks do not count."""
    return " ".join(unicodedata.normalize("NFKC", author.translate(MARKS)).split()).casefold().lstrip("~@ ")


def _listed(authors: Sequence[tuple[str, int]]) -> str:
    shown = [f"{_short(name)}: {count}" for name, count in authors[:_LISTED]]
    return ", ".join(shown) + (f" and {len(authors) - _LISTED} more" if len(authors) > _LISTED else "")


def _short(name: str) -> str:
    """A name as it is listed; what is as long as a sentence may be a text, and is told by its length."""
    words = name.translate(MARKS).split()
    if len(words) > _MOST_WORDS:
        return f"a name of {len(words)} words"
    return printable(" ".join(words), _LONGEST_NAME)
