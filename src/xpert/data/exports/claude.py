"""Claude's data export -> conversations: `conversations.json`, or one conversation of it.

Text blocks are read; thinking, tools and attachments are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xpert.data.exports.authors import Author, Export, Said, export_of
from xpert.data.exports.values import id_of, objects, text_of
from xpert.errors import DataError

_HUMAN = Author("human", "human", ("user",))
_AUTHORS = {"human": _HUMAN, "user": _HUMAN, "assistant": Author("assistant", "assistant", ("claude",))}


def read_claude(path: str, value: Any) -> Export | None:
    """The conversations of a file; None for other JSON.

    Raises:
        DataError: a field that holds something else than Claude writes there.
    """
    single = _is_conversation(value)
    if not single and not (isinstance(value, list) and any(_is_conversation(item) for item in value[:10])):
        return None
    chats = [(path, value)] if single else objects(path, value, "conversation")
    return export_of("Claude", [list(_messages(where, chat)) for where, chat in chats], me=_HUMAN)


def _is_conversation(value: Any) -> bool:
    return isinstance(value, dict) and "chat_messages" in value


def _messages(where: str, chat: dict[str, Any]) -> Iterator[Said]:
    for place, message in _branch(where, chat):
        author = _AUTHORS.get(text_of(place, message.get("sender"), "sender"))
        if author:
            yield Said(author, _text(place, message), place)


def _branch(where: str, chat: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The messages in order; where the file names the end of a branch, those that lead to it."""
    listed = list(objects(where, chat.get("chat_messages") or [], "message"))
    nodes = {id_of(place, message.get("uuid"), "uuid"): (place, message) for place, message in listed}
    current = id_of(where, chat.get("current_leaf_message_uuid"), "current_leaf_message_uuid")
    if not current or current not in nodes:
        return listed
    branch: list[tuple[str, dict[str, Any]]] = []
    visited: set[str] = set()
    while current and current in nodes:
        if current in visited:
            raise DataError(f"{where}: the messages run in a circle: the export is damaged, export it again")
        visited.add(current)
        place, message = nodes[current]
        branch.append((place, message))
        current = id_of(place, message.get("parent_message_uuid"), "parent_message_uuid")
    return branch[::-1]


def _text(place: str, message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return text_of(place, content, "content")
    # Blocks come first: beside blocks that are no text, `text` holds a stand-in for them.
    texts = [
        text_of(where, block.get("text"), "text")
        for where, block in objects(place, content or [], "block")
        if block.get("type", "text") == "text"
    ]
    return "\n".join(text for text in texts if text) or ("" if content else text_of(place, message.get("text"), "text"))
