"""Telegram Desktop, "Export chat history" and "Export Telegram data" as JSON -> conversations.

The file is `result.json`: one chat, or the whole account with its chats in `chats.list` and `left_chats.list`.
Service messages, media without a caption, forwarded messages and those of inline bots are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xpert.data.contents import kind_of
from xpert.data.exports.authors import Author, Export, Said, export_of
from xpert.data.exports.values import id_of, objects, part_of, text_of
from xpert.errors import DataError

_KINDS = ("_chat", "_group", "_supergroup", "_channel")
_OTHER_KINDS = frozenset({"saved_messages", "replies", "verification_codes"})
_THE_OTHER_SIDE = Author("the other side", "the other side")  # takes part in every chat, be it without a word
_NOT_OWN_WORDS = ("forwarded_from", "forwarded_from_id", "saved_from", "via_bot")


def read_telegram(path: str, value: Any) -> Export | None:
    """The chats of a `result.json`; None for other JSON.

    Raises:
        DataError: a field that holds something else than Telegram writes there.
    """
    if not isinstance(value, dict):
        return None
    if _is_chat(value):
        chats = [(path, value)]
    elif _is_account(value):
        chats = [
            (f"{path}, {part}, {place.rpartition(', ')[2]}", chat)
            for part in ("chats", "left_chats")
            for place, chat in objects(path, part_of(path, value, part).get("list") or [], "chat")
        ]
    else:
        return None
    conversations = [list(_messages(where, chat)) for where, chat in chats]
    others = [_THE_OTHER_SIDE] if any(chat.get("type") != "saved_messages" for _, chat in chats) else []
    return export_of("Telegram", conversations, me=_owner(path, value), others=others)


def _is_chat(value: dict[str, Any]) -> bool:
    kind = value.get("type")
    known = isinstance(kind, str) and (kind.endswith(_KINDS) or kind in _OTHER_KINDS)
    return known and "messages" in value and "id" in value


def _is_account(value: dict[str, Any]) -> bool:
    parts = [value[name] for name in ("chats", "left_chats") if name in value]
    return any(isinstance(part, dict) and isinstance(part.get("list"), list) for part in parts) and (
        "about" in value or "personal_information" in value or any(_is_chat(chat) for chat in _first_chats(parts))
    )


def _first_chats(parts: list[Any]) -> Iterator[dict[str, Any]]:
    for part in parts:
        listed = part.get("list") if isinstance(part, dict) else None
        if isinstance(listed, list):
            yield from (chat for chat in listed[:10] if isinstance(chat, dict))


def _owner(path: str, value: dict[str, Any]) -> Author | None:
    """The person whose account it is; only the export of a whole account names them."""
    about = part_of(path, value, "personal_information")
    id = id_of(path, about.get("user_id"), "user_id")
    names = (text_of(path, about.get(name), name) for name in ("first_name", "last_name"))
    return Author(_user(id), " ".join(name for name in names if name)) if id else None


def _messages(where: str, chat: dict[str, Any]) -> Iterator[Said]:
    for place, message in objects(where, chat.get("messages"), "message"):
        if message.get("type") != "message" or not (message.get("from_id") or message.get("from")):
            continue
        name = text_of(place, message.get("from"), "from")
        id = id_of(place, message.get("from_id"), "from_id") or name
        author = Author(_user(id), name)
        text = "" if any(field in message for field in _NOT_OWN_WORDS) else _text(place, message)
        yield Said(author, text, place)


def _user(id: str) -> str:
    """Exports of before 2021 have the bare number of a user, later ones "user" before it."""
    return f"user{id}" if id.isdigit() else id


def _text(place: str, message: dict[str, Any]) -> str:
    value = message["text"] if message.get("text") is not None else message.get("text_entities")
    if not isinstance(value, list):
        return text_of(place, value, "text")
    parts: list[str] = []
    for part in value:
        piece = part.get("text") if isinstance(part, dict) else part
        if not isinstance(piece, str):
            raise DataError(f"{place}: a part of 'text' is {kind_of(piece)}, not text: export the chat again")
        parts.append(piece)
    return text_of(place, "".join(parts), "text")
