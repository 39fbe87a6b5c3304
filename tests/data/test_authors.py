"""Tables with a sender and chats by name or role: one author's words are read, and no turn vanishes in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xpert.data import read_samples
from xpert.errors import DataError
from xpert.records import Sample

TALK = [("Mia", "Hello"), ("Wen", "What is up?"), ("Mia", "Fine"), ("Mia", "You?")]
MINE = [Sample(None, "Hello"), Sample("What is up?", "Fine\nYou?")]
SENDERS = (
    "from sender author user username name speaker who handle nick by Sender_Name fromName From_User displayName"
).split()
TEXTS = "text message body content msg Message_Text".split()


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def rows(sender: str, text: str) -> list[dict[str, str]]:
    return [{sender: name, text: said} for name, said in TALK]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("sender", SENDERS)
def test_a_table_with_a_sender_is_a_conversation(tmp_path: Path, sender: str, text: str) -> None:
    file = write(tmp_path / "me.csv", "".join(f"{a},{b}\n" for a, b in [(sender, text), *TALK]))
    assert read_samples(file, me="Mia") == MINE
    assert read_samples(file, me=" mia ") == MINE
    with pytest.raises(DataError, match=r"2 authors \(Mia: 3, Wen: 1\): say which one you are with --me NAME"):
        read_samples(file)
    with pytest.raises(DataError, match=r"no message of 'Zoe'; its authors are Mia: 3, Wen: 1"):
        read_samples(file, me="Zoe")


def test_in_every_format_of_tables_and_chats(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    table = rows("author", "text")
    parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "me.parquet")
    write(tmp_path / "me.jsonl", "".join(json.dumps(row) + "\n" for row in table))
    write(tmp_path / "me.json", table)
    write(tmp_path / "me.tsv", "".join(f"{a}\t{b}\n" for a, b in [("author", "text"), *TALK]))
    write(tmp_path / "chat.json", {"messages": rows("from", "text")})
    write(tmp_path / "chat.jsonl", json.dumps(rows("role", "content")))
    write(tmp_path / "columns.json", {"messages": {"name": [a for a, _ in TALK], "content": [b for _, b in TALK]}})
    for file in sorted(tmp_path.iterdir()):
        assert read_samples(file, me="Mia") == MINE, file.name
        with pytest.raises(DataError, match="2 authors"):
            read_samples(file)


@pytest.mark.parametrize("column", ["name", "user", "author", "from"])
def test_a_name_beside_a_prompt_and_a_response_is_no_sender(tmp_path: Path, column: str) -> None:
    file = write(
        tmp_path / "me.jsonl", "".join(json.dumps({column: n, "prompt": n, "response": t}) + "\n" for n, t in TALK)
    )
    assert read_samples(file) == [Sample(name, text) for name, text in TALK]
    with pytest.raises(DataError, match="does not say who wrote its texts, so --me NAME"):
        read_samples(file, me="Mia")


def test_one_author_needs_no_name(tmp_path: Path) -> None:
    assert read_samples(write(tmp_path / "a.csv", "author,text\nMia,a\nMia,b\n")) == [Sample(None, "a\nb")]
    assert read_samples(write(tmp_path / "b.csv", "name,text\n,a\n,b\n")) == [Sample(None, "a\nb")]


def test_nobody_is_taken_for_the_person_where_a_name_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\(no name\): 1, Wen: 1"):
        read_samples(write(tmp_path / "a.csv", "name,text\n,a\nWen,b\n"))


@pytest.mark.parametrize(
    "table",
    [
        "text,is_from_me,handle\nhi,0,Wen\nhello,1,Wen\n",
        "body,direction,contact\nhi,incoming,Wen\nhello,Outgoing,Wen\n",
        "address,type,body\n+49170,1,hi\n+49170,2,hello\n",
        "role,content\nassistant,hi\nuser,hello\nsystem,be kind\n",
        "from,text\nbot,hi\nhuman,hello\n",
    ],
)
def test_a_table_that_knows_who_the_person_is(tmp_path: Path, table: str) -> None:
    assert read_samples(write(tmp_path / "me.csv", table)) == [Sample("hi", "hello")]


def test_threads_are_apart_and_dates_may_fall(tmp_path: Path) -> None:
    mixed = "chat_id,sender,text\n1,Wen,a?\n2,Zoe,b?\n1,Mia,a\n2,Mia,b\n"
    assert read_samples(write(tmp_path / "a.csv", mixed), me="Mia") == [Sample("a?", "a"), Sample("b?", "b")]
    newest = "date,sender,text\n2024-01-03,Mia,c\n2024-01-02,Wen,b\n2024-01-01,Mia,a\n"
    assert read_samples(write(tmp_path / "b.csv", newest), me="Mia") == [Sample(None, "a"), Sample("b", "c")]


def test_a_named_response_column_keeps_the_sender(tmp_path: Path) -> None:
    file = write(tmp_path / "me.csv", "who,said\nMia,a\nWen,b\n")
    assert read_samples(file, response_column="said", me="Mia") == [Sample(None, "a")]
    with pytest.raises(DataError, match="2 authors"):
        read_samples(file, response_column="said")


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "user", "text": "x"},
        {"role": "user", "value": "x"},
        {"role": "user", "message": "x"},
        {"role": "user", "body": "x"},
        {"from": "human", "text": "x"},
        {"Role": "User", "Content": "x"},
        {"role": "user", "parts": ["x"]},
        {"role": "user", "parts": [{"type": "text", "text": "x"}]},
        {"role": "user", "content": "", "parts": [{"text": "x"}]},
        {"role": "user", "content": None, "text": "x"},
        {"role": "user", "content": ["x"]},
        {"role": "user", "content": {"text": "x"}},
        {"role": "user", "content": {"parts": ["x"]}},
        {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
        {"role": "user", "content": [{"type": "tool_result", "content": "not mine"}, {"type": "text", "text": "x"}]},
        {
            "author": {"role": "user"},
            "content": {"content_type": "multimodal_text", "parts": [{"asset_pointer": "a"}, "x"]},
        },
        {"message": {"author": {"role": "user"}, "content": {"parts": ["x"]}}},
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_turn_holds_its_text_in_many_ways(tmp_path: Path, turn: dict[str, Any], wrapped: bool) -> None:
    chat = [turn, {"role": "assistant", "parts": [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "ok"}]}]
    chat += [{"role": "user", "content": "y"}]
    file = write(tmp_path / "me.json", [{"messages": chat}] if wrapped else chat)
    assert read_samples(file) == [Sample(None, "x"), Sample("ok", "y")]


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "user"},
        {"role": "user", "content": None},
        {"role": "user", "content": []},
        {"role": "user", "parts": []},
        {"role": "user", "utterance": "secret"},
        {"role": "user", "content": {"words": "secret"}},
        {"role": "user", "content": [{"type": "text", "words": "secret"}]},
        {"role": "user", "content": {"parts": []}},
        {"from": "Mia", "utterance": "secret"},
    ],
)
def test_a_turn_without_text_that_can_be_read_is_an_error(tmp_path: Path, turn: dict[str, Any]) -> None:
    file = write(tmp_path / "me.json", {"messages": [turn, {"role": next(iter(turn.values())), "content": "ok"}]})
    with pytest.raises(
        DataError, match="row 1, message 1: no text was found in this turn: put it under 'content'"
    ) as no:
        read_samples(file)
    assert "secret" not in str(no.value)


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
        {"role": "user", "content": "", "attachments": [{"name": "a.pdf"}]},
        {"role": "user", "content": {"parts": [{"asset_pointer": "a"}]}},
        {"role": "user", "content": [{"type": "tool_result", "content": "42"}]},
        {"role": "user", "image": "a.png"},
    ],
)
def test_a_turn_that_holds_something_else_is_passed_over(tmp_path: Path, turn: dict[str, Any]) -> None:
    file = write(tmp_path / "me.json", {"messages": [turn, {"role": "user", "content": "ok"}]})
    assert read_samples(file) == [Sample(None, "ok")]


@pytest.mark.parametrize(
    "chat",
    [
        {"messages": {"role": ["assistant", "user"], "content": ["Tea?", "Always."]}},
        {"conversations": {"from": ["gpt", "human"], "value": ["Tea?", "Always."]}},
        {"role": ["assistant", "user"], "content": ["Tea?", "Always."]},
    ],
)
def test_chats_that_are_held_by_columns(tmp_path: Path, chat: dict[str, Any]) -> None:
    assert read_samples(write(tmp_path / "me.jsonl", chat)) == [Sample("Tea?", "Always.")]
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    parquet.write_table(pyarrow.Table.from_pylist([chat]), tmp_path / "me.parquet")
    assert read_samples(tmp_path / "me.parquet") == [Sample("Tea?", "Always.")]


def test_columns_of_unequal_length_are_no_chat(tmp_path: Path) -> None:
    file = write(tmp_path / "me.json", {"messages": {"role": ["user", "assistant"], "content": ["a"]}})
    with pytest.raises(DataError, match="the chat is an object, not a list"):
        read_samples(file)


def test_many_authors_are_listed_shortly_and_printably(tmp_path: Path) -> None:
    table = "author,text\n" + "".join(f"p{number},a\n" for number in range(50)) + "\x1b[31mred,a\n" + "x" * 500 + ",a\n"
    with pytest.raises(DataError, match="52 authors .* and 32 more") as caught:
        read_samples(write(tmp_path / "me.csv", table))
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "my secret diary of today,hello there\nx,y\n"),
        ("b.csv", "my secret diary,my secret diary\nx,y\n"),
        ("c.csv", "secret,and then I wept\nx,y\n"),
        ("d.jsonl", '{"my secret is that": "x"}\n'),
        ("e.json", '{"messages": [{"role": "my secret is that", "content": "a"}, {"role": "user", "content": "a"}]}'),
        ("f.csv", "prompt,my secret diary of today\nx,y\n"),
    ],
)
def test_a_header_that_may_be_a_text_is_not_quoted(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(DataError) as caught:
        read_samples(write(tmp_path / name, content))
    assert "secret" not in str(caught.value)
