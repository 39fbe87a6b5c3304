"""Messages of several people -> samples of the one whose data it is.

Knows authors and the order of messages; does not know which program exported them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xpert.records import Sample


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        author: who wrote it, as the source names them.
        text: what they wrote; no notices of the program, no stand-ins for media that was left out.
        where: file and number of the message, for errors.
    """

    author: str
    text: str
    where: str


Conversation = Sequence[Message]
"""Messages in the order in which they were sent; the messages of one chat, channel or mail thread."""


def own_samples(source: str, conversations: Iterable[Conversation], me: str | None) -> list[Sample]:
    """The messages of one author, each with the message of somebody else before it as its prompt.

    Messages that one author sends in a row are one text, joined by line breaks.

    Args:
        source: file or folder, for errors.
        conversations: as a parser of an export gives them.
        me: the author whose data it is, in any case; None: where there is one author only, that one.

    Raises:
        DataError: several authors and no `me`, or an author that is not there; the text lists the authors with the
            number of their messages.
    """
    raise NotImplementedError
