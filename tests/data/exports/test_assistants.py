"""ChatGPT and Claude: the person's turns, each after the answer before it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xpert.errors import DataError


def node(id: str, parent: str | None, role: str, *parts: Any, kind: str = "text", **more: Any) -> dict[str, Any]:
    content = {"content_type": kind, "parts": list(parts)}
    message = {"id": id, "author": {"role": role, "name": None, "metadata": {}}, "content": content, **more}
    return {"id": id, "parent": parent, "children": [], "message": {"recipient": "all", "metadata": {}, **message}}


NODES = [
    {"id": "root", "parent": None, "children": ["s"], "message": None},
    node("s", "root", "system", ""),
    node("c", "s", "user", kind="user_editable_context", user_profile="I am Mia", user_instructions="short"),
    node("h", "c", "user", "hidden", metadata={"is_visually_hidden_from_conversation": True}),
    node("u1", "h", "user", "How long for an egg?"),
    node("x1", "u1", "assistant", "search(egg)", recipient="browser"),
    node("t1", "x1", "tool", "result", kind="tether_quote"),
    node("a1", "t1", "assistant", "Seven minutes."),
    node("old", "a1", "user", "a draft that was edited"),
    node("u2", "a1", "user", {"content_type": "image_asset_pointer", "asset_pointer": "file://x"}, "Like this?",
         kind="multimodal_text"),
    node("th", "u2", "assistant", kind="thoughts"),
    node("a2", "th", "assistant", "Just so."),
    node("u3", "a2", "user", "Merci ", "😀"),
]  # fmt: skip
EXPECTED = [(None, "How long for an egg?"), ("Seven minutes.", "Like this?"), ("Just so.", "Merci\n😀")]


def chat(current: str | None = "u3", nodes: list[dict[str, Any]] = NODES) -> dict[str, Any]:
    return {"title": "Eggs", "create_time": 1.0, "mapping": {n["id"]: n for n in nodes}, "current_node": current}


def test_chatgpt_whole_single_and_as_a_folder(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    assert told(write("one.json", chat())) == EXPECTED
    whole = write("export/conversations.json", [chat(), chat()])
    assert told(whole) == EXPECTED * 2
    write("export/user.json", {"id": "user-1", "email": "mia@example.org"})
    write("export/message_feedback.json", [{"id": "1", "rating": "thumbsUp"}])
    write("export/chat.html", "<html></html>")
    assert told(whole.parent) == EXPECTED * 2


def test_chatgpt_in_several_parts(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    write("export/conversations-000.json", [chat()])
    assert told(write("export/conversations-001.json", [chat("u1")]).parent) == [*EXPECTED, EXPECTED[0]]


def test_the_branch_of_the_current_node_is_read(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    assert told(write("one.json", chat("old"))) == [EXPECTED[0], ("Seven minutes.", "a draft that was edited")]


def test_without_a_current_node_the_newest_branch_is_read(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    nodes = [{**n, "children": [c["id"] for c in NODES if c["parent"] == n["id"]]} for n in NODES]
    assert told(write("one.json", chat(None, nodes))) == EXPECTED


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"current_node": "nowhere"}, "lacks a node"),
        ({"current_node": 7.5}, "'current_node' is a number"),
        ({"mapping": {"a": node("a", "b", "user", "hm"), "b": node("b", "a", "user", "ha")}, "current_node": "a"},
         "circle"),
        ({"mapping": {"a": node("a", None, "user", 7)}, "current_node": "a"}, "'parts' is a number"),
        ({"mapping": {"a": {"message": {"author": "me"}, "parent": None}}, "current_node": "a"}, "'author' is text"),
        ({"mapping": {"a": {"message": [], "parent": None}}, "current_node": "a"}, "'message' is a list"),
    ],
)  # fmt: skip
def test_a_damaged_tree_is_refused(
    write: Callable[..., Path], told: Callable[..., Any], change: dict[str, Any], error: str
) -> None:
    with pytest.raises(DataError, match=error) as raised:
        told(write("one.json", {**chat(), **change}))
    assert "one.json" in str(raised.value) and "again" in str(raised.value)
    assert "hm" not in str(raised.value)


def turn(id: str, sender: Any, text: Any, *blocks: Any, parent: str | None = None) -> dict[str, Any]:
    content = {"content": list(blocks)} if blocks else {}
    above = {"parent_message_uuid": parent} if parent else {}
    return {"uuid": id, "sender": sender, "text": text, **content, "attachments": [], "files": [], **above}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "citations": []}


TURNS = [
    turn("1", "human", "How long for an egg?", words("How long for an egg?")),
    turn("2", "assistant", "Seven minutes.\nThis block is not supported on your current device yet.",
         {"type": "thinking", "thinking": "eggs…"}, words("Seven minutes."), {"type": "tool_use", "name": "timer"}),
    turn("3", "human", "", {"type": "text", "text": "Merci,"}, words("Claude")),
    turn("4", "assistant", "At your service."),
    {**turn("5", "human", ""), "attachments": [{"file_name": "a.txt", "extracted_content": "not my words"}]},
    turn("6", "human", "Old exports have the text alone"),
    turn("7", "system", "be nice"),
]  # fmt: skip
SPOKEN = [
    (None, "How long for an egg?"),
    ("Seven minutes.", "Merci,\nClaude"),
    ("At your service.", "Old exports have the text alone"),
]


def test_claude_whole_single_and_as_a_folder(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    one = {"uuid": "c", "name": "Eggs", "created_at": "2024-05-03T10:00:00Z", "chat_messages": TURNS}
    assert told(write("one.json", one)) == SPOKEN
    whole = write("export/conversations.json", [one, {**one, "chat_messages": []}])
    assert told(whole) == SPOKEN
    write("export/users.json", [{"uuid": "u", "full_name": "Mia"}])
    write("export/projects.json", [])
    assert told(whole.parent) == SPOKEN


def test_claude_reads_the_branch_that_is_open(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    tree = [
        turn("a", "human", "first"),
        turn("b", "assistant", "one", parent="a"),
        turn("c", "human", "dropped", parent="b"),
        turn("d", "human", "kept", parent="b"),
    ]
    one = {"uuid": "c", "name": "", "chat_messages": tree, "current_leaf_message_uuid": "d"}
    assert told(write("one.json", one)) == [(None, "first"), ("one", "kept")]


@pytest.mark.parametrize(
    "turns",
    [
        "all of it", 7, [7], [{"sender": 7}], [turn("1", "human", ["x"])], [turn("1", "human", "x", 7)],
        [turn("1", "human", "x", {"type": "text", "text": 7})], [turn("1", "human", "half \ud83d")],
    ],
)  # fmt: skip
def test_damaged_claude_exports_are_refused(write: Callable[..., Path], told: Callable[..., Any], turns: Any) -> None:
    text = json.dumps([{"uuid": "c", "chat_messages": turns}])
    with pytest.raises(DataError, match=r"c\.json.*export it again"):
        told(write("c.json", text))
