"""`read_samples` knows exports wherever they lie, and never takes another person's words for the own ones."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xpert.data import read_samples
from xpert.errors import DataError
from xpert.records import Sample

EXPECTED = [Sample("Where is the tea?", "Up on the shelf!"), Sample("And the milk?", "Gone, alas.")]
TALK = [
    ("Wen", EXPECTED[0].prompt),
    ("Mia", EXPECTED[0].response),
    ("Wen", EXPECTED[1].prompt),
    ("Mia", EXPECTED[1].response),
]


def telegram() -> Any:
    said = [
        {"id": n, "type": "message", "from": who, "from_id": f"user{who}", "text": text}
        for n, (who, text) in enumerate(TALK)
    ]
    return {"name": "Wen", "type": "personal_chat", "id": 1, "messages": said}


def discord() -> Any:
    said = [
        {"id": str(n), "type": "Default", "content": text, "author": {"id": who, "name": who}}
        for n, (who, text) in enumerate(TALK)
    ]
    return {"guild": {"id": "1"}, "channel": {"id": "2"}, "messages": said}


def discord_csv() -> str:
    return "AuthorID,Author,Date,Content,Attachments,Reactions\n" + "".join(
        f'"{who}","{who}#1","x","{text}","",""\n' for who, text in TALK
    )


def slack() -> Any:
    return [
        {
            "type": "message",
            "user": f"U{who}",
            "user_profile": {"real_name": who},
            "text": text,
            "ts": f"171473040{n}.000100",
        }
        for n, (who, text) in enumerate(TALK)
    ]


def chatgpt() -> Any:
    nodes = {
        str(n): {
            "parent": str(n - 1) if n else None,
            "message": {
                "author": {"role": "user" if who == "Mia" else "assistant"},
                "content": {"content_type": "text", "parts": [text]},
            },
        }
        for n, (who, text) in enumerate(TALK)
    }
    return [{"mapping": nodes, "current_node": str(len(TALK) - 1)}]


def claude() -> Any:
    said = [{"sender": "human" if who == "Mia" else "assistant", "text": text} for who, text in TALK]
    return [{"uuid": "1", "chat_messages": said}]


def meta() -> Any:
    said = [{"sender_name": who, "timestamp_ms": n, "content": text} for n, (who, text) in enumerate(TALK)]
    return {"participants": [{"name": "Mia"}, {"name": "Wen"}], "messages": said[::-1]}


def mbox() -> str:
    return "".join(
        f"From x Mon Jan  1 00:00:0{n} 2024\nFrom: {who} <{who}@example.org>\n"
        f"Subject: {'Re: ' if n else ''}Tea\n\n{text}\n\n"
        for n, (who, text) in enumerate(TALK)
    )


FORMS: dict[str, tuple[str, Callable[[], Any], str | None]] = {
    "telegram": ("result.json", telegram, "Mia"),
    "discord": ("talk.json", discord, "mia"),
    "discord csv": ("talk.csv", discord_csv, "Mia"),
    "slack": ("2024-05-03.json", slack, "mia"),
    "chatgpt": ("conversations.json", chatgpt, None),
    "claude": ("conversations.json", claude, None),
    "meta": ("message_1.json", meta, "MIA"),
    "mbox": ("all.mbox", mbox, "mia@example.org"),
}


def written(folder: Path, form: str) -> tuple[Path, str | None]:
    name, build, me = FORMS[form]
    value = build()
    file = folder / name
    folder.mkdir(exist_ok=True)
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return file, me


@pytest.mark.parametrize("form", FORMS)
def test_a_file_its_folder_and_its_gzip(tmp_path: Path, form: str) -> None:
    file, me = written(tmp_path / "export", form)
    assert read_samples(file, me=me) == EXPECTED
    assert read_samples(file.parent, me=me) == EXPECTED
    packed = tmp_path / f"{file.name}.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert read_samples(packed, me=me) == EXPECTED


@pytest.mark.parametrize("form", [form for form, (_, _, me) in FORMS.items() if me])
def test_without_a_name_the_authors_are_listed(tmp_path: Path, form: str) -> None:
    file, _ = written(tmp_path, form)
    with pytest.raises(DataError, match=r"(?i)2 authors .*mia\S*: 2.*--me"):
        read_samples(file)
    with pytest.raises(DataError, match=r"(?i)mia\S*: 2"):
        read_samples(file, me="Nobody")


def test_the_person_of_an_assistant_is_known_whatever_the_name(tmp_path: Path) -> None:
    file, _ = written(tmp_path, "chatgpt")
    assert read_samples(file, me="Mia") == EXPECTED


def test_a_folder_of_data_is_not_read_twice_nor_refused_for_a_part_that_is_not_wanted(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("prompt,response\na,b\n")
    (tmp_path / "test.csv").write_bytes(b"\x80\x81 broken")
    (tmp_path / "messages.json").write_text('[{"prompt": "c", "response": "d"}]')
    assert read_samples(tmp_path) == [Sample("c", "d"), Sample("a", "b")]
