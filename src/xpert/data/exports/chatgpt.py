"""ChatGPT's data export -> conversations: `conversations.json`, or one conversation of it.

A conversation is a tree; the branch that leads to `current_node` is read. System and tool turns, hidden ones, and parts
that are no text are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xpert.data.contents import kind_of
from xpert.data.exports.authors import Author, Export, Said, export_of
from xpert.data.exports.values import id_of, objects, part_of, text_of
from xpert.errors import DataError

_AUTHORS = {"user": Author("user", "user", ("human",)), "assistant": Author("assistant", "assistant", ("chatgpt",))}
_TEXTS = frozenset({"text", "multimodal_text", ""})


def read_chatgpt(path: str, value: Any) -> Export | None:
    """The conversations of a file; None for other JSON.

    Raises:
        DataError: a field that holds something else than ChatGPT writes there, or a tree that is none.
    """
    single = _is_conversation(value)
    if not single and not (isinstance(value, list) and any(_is_conversation(item) for item in value[:10])):
        return None
    chats = [(path, value)] if single else objects(path, value, "conversation")
    return export_of("ChatGPT", [list(_messages(where, chat)) for where, chat in chats], me=_AUTHORS["user"])


def _is_conversation(value: Any) -> bool:
    mapping = value.get("mapping") if isinstance(value, dict) else None
    return isinstance(mapping, dict) and any(isinstance(node, dict) and "message" in node for node in mapping.values())


def _messages(where: str, chat: dict[str, Any]) -> Iterator[Said]:
    for number, message in enumerate(_branch(where, chat), start=1):
        place = f"{where}, message {number}"
        author = _AUTHORS.get(text_of(place, part_of(place, message, "author").get("role"), "role"))
        if author is None or _hidden(place, message):
            continue
        yield Said(author, _text(place, message), place)


def _branch(where: str, chat: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages from the root to the current node."""
    nodes = part_of(where, chat, "mapping")
    current = id_of(where, chat.get("current_node"), "current_node") or _last_leaf(where, nodes)
    branch: list[dict[str, Any]] = []
    visited: set[str] = set()
    while current:
        if current in visited or current not in nodes:
            raise DataError(
                f"{where}: the tree of messages {'runs in a circle' if current in visited else 'lacks a node'}: the "
                "export is damaged, export it again"
            )
        visited.add(current)
        node = part_of(where, nodes, current)
        branch.append(part_of(where, node, "message"))
        current = id_of(where, node.get("parent"), "parent")
    return branch[::-1]


def _last_leaf(where: str, nodes: dict[str, Any]) -> str:
    """Where no current node is named: the end of the newest branch, as the program opens it."""
    current = next((id for id in nodes if not part_of(where, nodes, id).get("parent")), "")
    visited: set[str] = set()
    while current in nodes and current not in visited:
        visited.add(current)
        children = part_of(where, nodes, current).get("children")
        if not isinstance(children, list) or not children or not isinstance(children[-1], str):
            return current
        current = children[-1]
    return current


def _hidden(place: str, message: dict[str, Any]) -> bool:
    about = part_of(place, message, "metadata")
    recipient = message.get("recipient")
    return about.get("is_visually_hidden_from_conversation") is True or recipient not in (None, "", "all")


def _text(place: str, message: dict[str, Any]) -> str:
    content = part_of(place, message, "content")
    if text_of(place, content.get("content_type"), "content_type") not in _TEXTS:
        return ""
    parts = content.get("parts")
    if parts is None:
        return text_of(place, content.get("text"), "text")
    if not isinstance(parts, list):
        raise DataError(f"{place}: 'parts' is {kind_of(parts)}, not a list: the export is damaged, export it again")
    # Pictures and sound are objects; so are transcripts of speech, which nobody wrote.
    texts = [text_of(place, part, "parts") for part in parts if not isinstance(part, dict)]
    return "\n".join(text for text in texts if text)
