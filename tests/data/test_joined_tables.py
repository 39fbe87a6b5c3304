"""Tables as spreadsheets write them and as people join them: no header becomes a sample, and no sample is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpert.data import read_samples
from xpert.errors import DataError
from xpert.records import Sample

TWO = [Sample("a", "b"), Sample("c", "d")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("excel.csv", "sep=;\nprompt;response\na;b\nc;d\n"),
        ("quoted.csv", '"sep=;"\r\nprompt;response\r\na;b\r\nc;d\r\n'),
        ("resaved.csv", "sep=,,\nprompt,response\na,b\nc,d\n"),
        ("marked.csv", "\ufeffsep=;\nprompt;response\na;b\nc;d\n"),
        ("tabs.csv", "SEP=\t\nprompt\tresponse\na\tb\nc\td\n"),
        ("pipes.csv", "sep=|\nprompt|response\na|b\nc|d\n"),
        ("semicolons.tsv", "sep=;\nprompt;response\na;b\nc;d\n"),
        ("tabs_without.csv", "prompt\tresponse\na\tb\nc\td\n"),
        ("joined.csv", "prompt,response\na,b\nprompt,response\nc,d\n"),
        ("joined_case.csv", "Prompt,Response\na,b\nprompt, response\nc,d\n"),
        ("joined_marks.csv", "\ufeffprompt,response\na,b\n\ufeffprompt,response\nc,d\n"),
        ("joined_quotes.csv", '\ufeff"prompt","response"\na,b\n\ufeff"prompt","response"\nc,d\n'),
        ("joined_excel.csv", "sep=;\nprompt;response\na;b\nsep=;\nprompt;response\nc;d\n"),
        ("joined.tsv", "prompt\tresponse\na\tb\nprompt\tresponse\nc\td\n"),
        ("newlines.csv", "prompt,response\r\na,b\rc,d\n"),
        ("old_mac.csv", "prompt;response\ra;b\rc;d\r"),
        ("joined.jsonl", '{"prompt": "a", "response": "b"}\n\ufeff{"prompt": "c", "response": "d"}'),
        ("newlines.jsonl", '{"prompt": "a", "response": "b"}\r\r\n{"prompt": "c", "response": "d"}\r'),
    ],
)
def test_joined_and_foreign_tables(tmp_path: Path, name: str, content: str) -> None:
    file = tmp_path / name
    file.write_bytes(content.encode())
    assert read_samples(file) == TWO


@pytest.mark.parametrize(
    "content",
    [
        "prompt,response\na,b\nresponse,prompt\nd,c\n",
        "prompt,response\na,b\n\ufefftext,label\nc,d\n",
        "prompt,response\na,b\n\ufeffc,d\n",
        "prompt,response\na,b\nquestion,answer\nc,d\n",
        "question,answer\na,b\nInstruction, Output\nc,d\n",
    ],
)
def test_another_header_between_the_rows_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "me.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"row 2 \(line 3\): another file begins here, with other columns"):
        read_samples(file)


def test_line_breaks_inside_a_field_are_one_kind(tmp_path: Path) -> None:
    file = tmp_path / "me.csv"
    file.write_bytes(b'prompt,response\r\na,"one\r\ntwo\rthree"\n')
    assert read_samples(file) == [Sample("a", "one\ntwo\nthree")]


@pytest.mark.parametrize(
    ("name", "content"),
    [("me.jsonl", '{"text": "a\\u0000b"}'), ("me.json", '[{"role": "user", "content": "a\\u0000b"}]')],
)
def test_a_zero_character_inside_a_text_is_refused(tmp_path: Path, name: str, content: str) -> None:
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="holds a zero character"):
        read_samples(file)


def test_the_mark_of_a_joined_text_is_no_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "me.txt"
    file.write_bytes("\ufeffone\n\n\ufefftwo\n".encode())
    assert read_samples(file) == [Sample(None, "one"), Sample(None, "two")]
