"""A column that may say who wrote a row makes a table a conversation, whatever it is called and holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xpert.data import read_samples
from xpert.errors import DataError
from xpert.records import Sample

TALK = [("Wen", "Dinner?"), ("Mia", "Yes"), ("Wen", "When?"), ("Mia", "At 7")]
MINE = [Sample("Dinner?", "Yes"), Sample("When?", "At 7")]
NAMES = (
    "msg_from,user_id,userId,Author ID,senderId,from_number,fromEmail,Person,Member,Speaker Label,speaker_id,agent,"
    "creator,sent_from,account,tweet_author,from_user_name,chat_member,full_name,writer_name,sender.displayName,"
    "Message Sender,Von,Absender,expéditeur,remitente,mittente,отправитель,发送者,名前,보낸 사람,email,sender_role"
).split(",")


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("text", ["text", "Message", "response"])
@pytest.mark.parametrize("sender", NAMES)
def test_a_sender_is_told_by_the_words_of_its_name(tmp_path: Path, sender: str, text: str) -> None:
    table = write(tmp_path / "me.csv", "".join(f"{a},{b}\n" for a, b in [(sender, text), *TALK]))
    lines = write(tmp_path / "me.jsonl", "".join(json.dumps({"n": 1, sender: a, text: b}) + "\n" for a, b in TALK))
    for file in (table, lines):
        assert read_samples(file, me="Mia") == MINE
        with pytest.raises(DataError, match=r"2 authors \(Wen: 2, Mia: 2\)"):
            read_samples(file)


@pytest.mark.parametrize(
    "author",
    [
        {"user": {"displayName": "Mia"}},
        {"user": {"id": 1, "displayName": "Mia"}},
        {"uid": 9, "nickname": "Mia"},
        [{"name": "Mia"}],
        ["Mia"],
        {"profile": {"fullName": "Mia"}},
    ],
)
def test_a_name_lies_deep_in_an_object(tmp_path: Path, author: Any) -> None:
    rows = [{"from": "Wen", "text": "Hi"}, {"from": author, "text": "Hello"}]
    for content in (rows, {"messages": rows}):
        assert read_samples(write(tmp_path / "me.json", content), me="mia") == [Sample("Hi", "Hello")]


def test_a_number_is_an_author_and_no_name_is_not_everybody(tmp_path: Path) -> None:
    rows = [{"user": 1.0, "text": "Hi"}, {"user": 2.0, "text": "Hello"}]
    assert read_samples(write(tmp_path / "a.json", rows), me="2") == [Sample("Hi", "Hello")]
    for odd in ({"strange": "Mia"}, True, ["Mia", "Wen"], 1.5):
        lines = "".join(json.dumps({"author": odd, "text": text}) + "\n" for text in ("Hi", "Hello"))
        with pytest.raises(DataError, match="row 1: the column that says who wrote the text is .*, not a name"):
            read_samples(write(tmp_path / "b.jsonl", lines))


def test_columns_that_only_look_like_a_sender(tmp_path: Path) -> None:
    row = {"text": "a", "file_name": "f", "user_rating": 1, "title": "t", "message_id": 3, "source": "s", "lang": "en"}
    assert read_samples(write(tmp_path / "a.jsonl", json.dumps(row))) == [Sample(None, "a")]
