"""Messages with the ids of their authors -> conversations in which every author has one name of their own.

Knows ids and names; does not know programs. Two people of one name stay two, and a person who changed the name one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from xpert.data.conversations import MARKS, Conversation, Message, author_key
from xpert.errors import DataError
from xpert.printing import printable

_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Author:
    """Who wrote a message: an id that does not change, the name that is shown, and other names that they go by."""

    id: str
    name: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """One message as a program exported it; `text` may be empty and `context` is as in `Message`."""

    author: Author
    text: str
    where: str
    context: bool = False


@dataclass(frozen=True)
class Export:
    """What one program exported.

    Attributes:
        program: its name, for people.
        conversations: chats, channels and threads; none without any text.
        me: the author who is known to be the person, else None.
        others: authors who are known to take part, be it without a text in the export.
        names: other ways to name an author (id, user name, ...), in lower case -> the author.
    """

    program: str
    conversations: list[Conversation]
    me: str | None
    others: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)

    def person(self, me: str | None) -> str | None:
        """The author that `me` names in any way, else the one who is known to be the person, else None.

        Raises:
            DataError: nobody is named or known, and the only author of text need not be the person.
        """
        if me is not None:
            return self.names.get(author_key(me), self.me)
        messages = (message for conversation in self.conversations for message in conversation)
        writers = {message.author for message in messages if message.text}
        if self.me is None and len(writers) == 1 and self.others - writers:
            raise DataError(
                f"this {self.program} export holds text of {next(iter(writers))!r} only, and others take part in it: "
                "if that is you, say so with --me NAME"
            )
        return self.me


def export_of(
    program: str,
    conversations: Iterable[Sequence[Said]],
    *,
    me: Author | None = None,
    others: Iterable[Author] = (),
) -> Export:
    """An export in which each author has one name; names that several people have get their ids beside them."""
    whole = list(conversations)
    spoken = [conversation for conversation in whole if any(one.text for one in conversation)]
    silent = [*others, *(one.author for conversation in whole for one in conversation if not one.text)]
    known = [message.author for conversation in spoken for message in conversation] + silent
    labels = _labels([*known, *([me] if me else [])])
    return Export(
        program=program,
        conversations=[
            [Message(labels[one.author.id], one.text, one.where, one.context) for one in conversation]
            for conversation in spoken
        ],
        me=labels[me.id] if me else None,
        others=frozenset(labels[author.id] for author in silent),
        names=_other_names(known, labels),
    )


def _labels(authors: Sequence[Author]) -> dict[str, str]:
    """The name of each id: the last one seen, with the id where two ids have it."""
    last: dict[str, str] = {}
    for author in dict.fromkeys(authors):
        name = printable(" ".join(author.name.translate(MARKS).split()), _LONGEST_NAME)
        if name or author.id not in last:
            last[author.id] = name or printable(author.id, _LONGEST_NAME)
    often = Counter(author_key(name) for name in last.values())
    return {id: f"{name} ({id})" if often[author_key(name)] > 1 else name for id, name in last.items()}


def _other_names(authors: Iterable[Author], labels: Mapping[str, str]) -> dict[str, str]:
    meant: dict[str, set[str]] = {}
    for author in dict.fromkeys(authors):
        for name in (author.id, author.name, *author.also):
            meant.setdefault(author_key(name), set()).add(labels[author.id])
    exact = {author_key(label): label for label in labels.values()}
    return {name: next(iter(people)) for name, people in meant.items() if len(people) == 1 and name} | exact
