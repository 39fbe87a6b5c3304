"""Turns of chats and rows with a sender -> samples where the roles say who the person is, else a conversation.

Knows roles and the names of columns that hold an author; does not know files. Errors never quote the text itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from xpert.data.contents import TABLE_KEYS, bare, kind_of, named_values, read_content
from xpert.data.conversations import Conversation, Message
from xpert.data.senders import is_sender, sender
from xpert.errors import DataError
from xpert.printing import printable
from xpert.records import Sample

CHATS = ("messages", "conversations", "conversation")
"""Names under which a row holds a whole chat."""

_USER = frozenset({"user", "human"})
_OTHER_SIDE = frozenset({"assistant", "gpt", "model", "bot", "chatbot"})
_SILENT = frozenset({"system", "developer", "tool", "function", "ipython"})
_ROLES = _USER | _OTHER_SIDE | _SILENT
_MINE = ("isfromme", "fromme", "issender", "ismine", "isoutgoing", "outgoing", "issentbyme", "sentbyme", "isme")
_DIRECTIONS = ("direction", "type", "messagetype", "folder", "box")
_SENT = frozenset({"sent", "outgoing", "out", "outbox", "outbound", "from me"})
_RECEIVED = frozenset({"received", "incoming", "in", "inbox", "inbound", "to me"})
_YES, _NO = frozenset({"1", "true", "yes", "t", "y"}), frozenset({"0", "false", "no", "f", "n"})
_SAID = frozenset({*_MINE, *_DIRECTIONS})


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: who took it, its text (None: there is none), and whether it is known to hold something else."""

    who: str
    text: str | None
    other: bool
    where: str


Settled = list[Sample] | Conversation
"""What turns become: samples where roles say whose they are, else a conversation whose author is chosen."""


def is_message(value: Any) -> bool:
    """True for one turn of a chat, such as {role, content} or {from, value}."""
    if not isinstance(value, dict):
        return False
    values = {bare(name): inner for name, inner in value.items()}
    sided = bool({"role", "from"} & values.keys()) or isinstance(values.get("author"), dict)
    held = {"content", "value", "text", "parts", "message", "body"} & values.keys()
    return bool(sided and held) or is_message(values.get("message"))


def chat_turns(where: str, messages: Any) -> list[Turn]:
    """The turns of a chat.

    Args:
        where: file and row, for errors.
        messages: a list of {role, content}, {from, value}, {author, text} or the like, or an object of such columns.

    Raises:
        DataError: it is no such list, or a turn has no author.
    """
    if isinstance(messages, dict):
        messages = _listed(messages)
    if not isinstance(messages, list):
        raise DataError(f"{where}: the chat is {kind_of(messages)}, not a list of {{role, content}} messages")
    return [_turn(f"{where}, message {number}", message) for number, message in enumerate(messages, start=1)]


def column_turns(where: str, values: Mapping[str, Any]) -> list[Turn] | None:
    """The turns of a row that is a chat by columns, {"role": [...], "content": [...]}; None where it is none."""
    if not tells_author(tuple(values)):
        return None
    columns = {str(name): value for name, value in values.items() if is_sender(str(name)) or bare(name) in TABLE_KEYS}
    if not any(isinstance(value, list) for name, value in columns.items() if is_sender(name)):
        return None
    found = _listed(columns)
    said = any(bare(name) in TABLE_KEYS for name in columns)
    return chat_turns(where, found) if isinstance(found, list) and said else None


def row_turn(where: str, values: Mapping[str, Any], text: str | None = None) -> Turn | None:
    """The message that one row of a table is; None where no column says who wrote it.

    Args:
        where: file and row, for errors.
        values: the row.
        text: the column of the text; None: found by its name.
    """
    if not tells_author(tuple(values)):
        return None
    keys = TABLE_KEYS if text is None else (bare(text),)
    bared = named_values(values, {*_SAID, *keys, "address"})
    said = next((key for key in keys if key in bared), None)
    if said is None:
        return None
    who = _who({str(name): value for name, value in values.items() if bare(name) != said}, strict=where)
    if who is None:
        return None
    content = read_content(where, bared, keys)
    return Turn(who, content.text, True, where)  # an empty cell says that there was no text


@lru_cache(maxsize=256)
def tells_author(columns: tuple[str, ...]) -> bool:
    """Whether a column of a table may say who wrote a row."""
    return any(bare(name) in _SAID or is_sender(name) for name in columns)


def settle(turns: Sequence[Turn], *, mixed: bool = False) -> Settled:
    """The user's own turns as samples, each with the other side's turn right before it; or a conversation.

    Turns of system and tools are skipped, and so are turns that hold no text, such as pictures.

    Args:
        turns: of one chat, in order.
        mixed: names may stand beside the role of the user, as in the column of a table.

    Raises:
        DataError: an unknown role beside the user's, or a turn of the person without text.
    """
    roles = [turn.who.strip().casefold() for turn in turns]
    strange = next((turn for turn, role in zip(turns, roles, strict=True) if role not in _ROLES), None)
    if strange is None:
        return list(_role_samples(turns, roles))
    if not mixed and any(role in _USER for role in roles):
        said = f" {printable(strange.who, 40)!r}" if len(strange.who.split()) < 4 else ", several words"
        raise DataError(
            f"{strange.where}: unknown role{said}: call the person 'user' and the other side "
            f"'assistant' (also known: {', '.join(sorted(_ROLES - {'user', 'assistant'}))})"
        )
    return [
        Message(turn.who, (turn.text or "").strip(), _with_text(turn))
        for turn, role in zip(turns, roles, strict=True)
        if role not in _SILENT
    ]


def _role_samples(turns: Sequence[Turn], roles: Sequence[str]) -> Iterator[Sample]:
    before: str | None = None
    for turn, role in zip(turns, roles, strict=True):
        if role in _SILENT:
            continue
        text = (turn.text or "").strip()
        if role in _OTHER_SIDE:
            before = text or None
            continue
        if not text and turn.text is not None and not turn.other:
            raise DataError(f"{turn.where}: the user's turn is empty: fill it in or delete the message")
        _with_text(turn)
        if text:
            yield Sample(before, text)
        before = None


def _with_text(turn: Turn) -> str:
    """The place of a turn that holds text, or is known to hold none."""
    if turn.text is None and not turn.other:
        raise DataError(
            f"{turn.where}: no text was found in this turn: put it under 'content' (also known: 'text', 'parts', "
            "'value', 'message', 'body'), or delete the message"
        )
    return turn.where


def _turn(where: str, message: Any) -> Turn:
    values = {bare(name): value for name, value in message.items()} if isinstance(message, dict) else {}
    who = _who(message) if isinstance(message, dict) else None
    inner = values.get("message")
    if who is None and isinstance(inner, dict):
        return _turn(where, inner)
    if who is None:
        raise DataError(f"{where}: {kind_of(message)} without a role: a message is {{role, content}}")
    content = read_content(where, values)
    kind = values.get("type")
    service = isinstance(kind, str) and kind.casefold() in ("service", "event", "system", "notification")
    return Turn("system" if service else who, content.text, content.other, where)


def _who(values: Mapping[str, Any], *, strict: str | None = None) -> str | None:
    """The author of a turn or row; None where nothing says.

    Where a value says that the person sent it, a name beside it is often that of the other side: it is not looked at.
    """
    mine = _mine({bare(name): value for name, value in values.items()})
    if mine is not None:
        return "user" if mine else "assistant"
    return sender(values, strict=strict)


def _mine(values: Mapping[str, Any]) -> bool | None:
    for name in _MINE:
        said = str(values.get(name, "")).strip().casefold()
        if said in _YES | _NO:
            return said in _YES
    for name in _DIRECTIONS:
        said = str(values.get(name, "")).strip().casefold()
        if said in _SENT | _RECEIVED:
            return said in _SENT
        if name == "type" and "address" in values and said in ("1", "2"):  # as Android keeps its SMS
            return said == "2"
    return None


def _listed(columns: Mapping[str, Any]) -> Any:
    """The turns of a chat that is held by columns, as Hugging Face datasets give it."""
    inner = next((columns[name] for name in CHATS if isinstance(columns.get(name), list)), None)
    if inner is not None:
        return inner
    lists = {name: column for name, column in columns.items() if isinstance(column, list)}
    lengths = {len(column) for column in lists.values()}
    if len(lists) < 2 or len(lengths) != 1:
        return dict(columns)
    return [dict(zip(lists, parts, strict=True)) for parts in zip(*lists.values(), strict=True)]
