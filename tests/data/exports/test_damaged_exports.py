"""Whatever stands in a field, an export is read or refused with its name and the way out, and nothing is quoted."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xpert.errors import DataError

SECRET = "my secret diary"
ODD = [None, True, -1, 1.5, 10**50, "", SECRET, "\ud83d", [], {}, [SECRET], [[]], {"text": 7}, [None], {SECRET: {}}]


def telegram() -> Any:
    said = {"id": 1, "type": "message", "from": "Mia", "from_id": "user1", "date": "2024-05-03T10:00:00"}
    said |= {"text": [SECRET, {"type": "bold", "text": "b"}], "text_entities": [{"type": "plain", "text": SECRET}]}
    chat = {"name": "Wen", "type": "personal_chat", "id": 2, "messages": [said, {**said, "text": SECRET}]}
    about = {"user_id": 1, "first_name": "Mia", "last_name": "L"}
    return {"about": "", "personal_information": about, "chats": {"list": [chat]}, "left_chats": {"list": [chat]}}


def discord() -> Any:
    author = {"id": "1", "name": "mia", "nickname": "Mia", "discriminator": "0", "isBot": False}
    said = {"id": "5", "type": "Default", "content": SECRET, "author": author, "mentions": [author]}
    return {"guild": {}, "channel": {}, "messages": [said, said]}


def package() -> Any:
    return [{"ID": 1, "Timestamp": "2024-05-03", "Contents": SECRET, "Attachments": ""}] * 2


def slack() -> Any:
    said = {"type": "message", "user": "U1", "text": SECRET, "ts": "1714730400.000100", "subtype": None}
    return [{**said, "thread_ts": "1714730400.000100", "user_profile": {"display_name": "Mia", "real_name": "M"}}, said]


def chatgpt() -> Any:
    content = {"content_type": "text", "parts": [SECRET]}
    message = {"author": {"role": "user"}, "content": content, "metadata": {}, "recipient": "all"}
    nodes = {"r": {"parent": None, "children": ["a"], "message": None}, "a": {"parent": "r", "message": message}}
    return [{"mapping": nodes, "current_node": "a", "title": ""}, {"mapping": nodes, "title": ""}]


def claude() -> Any:
    turn = {"uuid": "1", "sender": "human", "text": SECRET, "content": [{"type": "text", "text": SECRET}]}
    tree = {"chat_messages": [{**turn, "parent_message_uuid": "0"}], "current_leaf_message_uuid": "1"}
    return [{"uuid": "c", "chat_messages": [turn, {**turn, "content": []}]}, tree]


def meta() -> Any:
    said = {"sender_name": "Mia", "timestamp_ms": 1, "content": SECRET, "type": "Generic", "is_unsent": False}
    return {"participants": [{"name": "Mia"}], "messages": [said, said], "title": "Wen"}


def encrypted() -> Any:
    said = {"senderName": "Mia", "timestamp": 1, "text": SECRET, "type": "text", "isUnsent": False}
    return {"participants": ["Mia"], "threadName": "Wen", "messages": [said, said]}


def tweets() -> Any:
    link = {"url": "https://t.co/a", "expanded_url": "https://b.example"}
    return [{"tweet": {"id_str": "1", "full_text": SECRET, "entities": {"urls": [link]}}}] * 2


def messages() -> Any:
    said = {"id": "1", "senderId": "5", "text": SECRET, "createdAt": "2024", "urls": []}
    return [{"dmConversation": {"conversationId": "5-7", "messages": [{"messageCreate": said}]}}]


FORMS: dict[str, tuple[str, str, Callable[[], Any]]] = {
    "telegram": ("result.json", "", telegram),
    "discord": ("channel.json", "", discord),
    "package": ("messages.json", "", package),
    "slack": ("2024-05-03.json", "", slack),
    "chatgpt": ("conversations.json", "", chatgpt),
    "claude": ("conversations.json", "", claude),
    "meta": ("message_1.json", "", meta),
    "encrypted": ("Wen_1.json", "", encrypted),
    "tweets": ("tweets.js", "window.YTD.tweets.part0 = ", tweets),
    "messages": ("direct-messages.js", "window.YTD.direct_messages.part0 = ", messages),
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def changed(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = odd
    return value


def read_or_refuse(file: Path, export_of: Callable[[Path], Any]) -> None:
    for source in (file, file.parent):
        try:
            export = export_of(source)
            if export is not None:
                export.person("nobody")
                export.person(None)
        except DataError as error:
            text = str(error)
            if "--me" in text:  # asks who the person is, and names who wrote
                continue
            assert SECRET not in text, "personal text is quoted"
            assert file.name in text, text
            assert any(way in text for way in ("again", "convert the file", "give a ")), text


@pytest.mark.parametrize("form", FORMS)
def test_every_field_may_hold_anything(write: Callable[..., Path], export_of: Callable[..., Any], form: str) -> None:
    name, start, build = FORMS[form]
    whole = build()
    assert export_of(write(f"{form}/{name}", start + json.dumps(whole))) is not None
    for path in places(whole):
        for odd in ODD:
            content = start + json.dumps(changed(whole, path, odd))
            read_or_refuse(write(f"{form}/{name}", content), export_of)


@pytest.mark.parametrize("form", FORMS)
def test_a_field_may_be_missing(write: Callable[..., Path], export_of: Callable[..., Any], form: str) -> None:
    name, start, build = FORMS[form]
    whole = build()
    for path in places(whole):
        if path:
            copied = copy.deepcopy(whole)
            inner = copied
            for key in path[:-1]:
                inner = inner[key]
            del inner[path[-1]]
            read_or_refuse(write(f"{form}/{name}", start + json.dumps(copied)), export_of)


@pytest.mark.parametrize("form", FORMS)
def test_bytes_may_be_cut_or_changed(write: Callable[..., Path], export_of: Callable[..., Any], form: str) -> None:
    name, start, build = FORMS[form]
    content = bytearray((start + json.dumps(build())).encode())
    chance = random.Random(form)
    for _ in range(60):
        broken = bytearray(content[: chance.randrange(len(content))] if chance.random() < 0.3 else content)
        for _ in range(chance.randrange(4)):
            broken[chance.randrange(len(broken) or 1) : 0] = bytes([chance.randrange(256)]) if broken else b""
        read_or_refuse(write(f"{form}/{name}", bytes(broken)), export_of)


def test_numbers_without_end_and_deep_lists(write: Callable[..., Path], export_of: Callable[..., Any]) -> None:
    said = '{"sender_name": "Mia", "timestamp_ms": %s, "content": "x"}'
    for number in ("1" * 5000, "1e999", "NaN", "-Infinity", "[" * 5000 + "]" * 5000, "[" * 100_000):
        text = '{"participants": [], "messages": [' + said % number + "]}"
        read_or_refuse(write("m/message_1.json", text), export_of)


def test_a_file_name_of_a_stranger_is_printed_safely(write: Callable[..., Path], export_of: Callable[..., Any]) -> None:
    file = write("\x1b[31mred\u202e.json", {"participants": 7, "messages": [{"sender_name": "Mia"}]})
    with pytest.raises(DataError) as raised:
        export_of(file)
    assert "\x1b" not in str(raised.value) and "\u202e" not in str(raised.value)


def test_other_json_is_nobodys_export(write: Callable[..., Path], export_of: Callable[..., Any]) -> None:
    others = [
        [{"prompt": "a", "response": "b"}],
        {"messages": [{"role": "user", "content": "hi"}]},
        [{"from": "Mia", "text": "hi"}],
        {"chats": ["a"], "messages": []},
        {"type": "chat", "id": 1, "messages": [{"author": "Mia"}]},
        [{"text": "hi", "ts": 7}],
        {"mapping": {"a": "b"}},
        [],
        {},
        7,
        {"data": {"sender_name": "Mia"}},
    ]
    for number, value in enumerate(others):
        assert export_of(write(f"{number}.json", value)) is None, value
    assert export_of(write("lines.jsonl", '{"text": "a"}\n{"text": "b"}\n')) is None
