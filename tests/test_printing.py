"""What strangers wrote does nothing to a terminal."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from xpert import errors
from xpert.data import read_samples
from xpert.printing import printable
from xpert.records import PoolRecord, WordCoefficient

HOSTILE = "a\x1b]0;own\x07\x9b31m\u202eb\ud800\rc"


def test_what_acts_on_a_terminal_becomes_a_question_mark() -> None:
    assert printable(HOSTILE) == "a?]0;own??31m?b??c"


@pytest.mark.parametrize("text", ["plain", "zwei – ✓ 你好 👩\u200d🚀", "two\nlines\tand a tab"])
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text


def test_long_text_is_cut() -> None:
    assert printable("x" * 300, 100) == "x" * 99 + "…"
    assert printable("one\r\ntwo") == "one\ntwo"


def test_records_of_foreign_pools_are_printable() -> None:
    text = HOSTILE.replace("\ud800", "")
    record = PoolRecord(
        name=text, adapter="a", base="b", base_name=text, rank=1, target_modules=(text,), size_bytes=1, created=text,
        note=text,
    )  # fmt: skip
    word = WordCoefficient(word=text, coefficient=0.0, low=0.0, high=0.0, floor=0.0)
    shown = record.model_dump_json() + word.model_dump_json()
    assert "a?]0;own??31m?b?c" in shown and "u001b" not in shown and "\x9b" not in shown


def _all_errors(root: type[errors.XpertError] = errors.XpertError) -> Iterator[type[errors.XpertError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _all_errors(kind)


@pytest.mark.parametrize("kind", _all_errors())
def test_no_error_acts_on_a_terminal(kind: type[errors.XpertError]) -> None:
    assert str(kind(f"{HOSTILE} cannot be read: give another")) == "a?]0;own??31m?b??c cannot be read: give another"


@pytest.mark.parametrize("name", ["\x1b[31mred.jsonl", "a\u202egpj.jsonl", "a\rb.jsonl", "\x9bb.csv"])
def test_a_file_of_any_name_is_named_harmlessly(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{broken")
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(errors.DataError) as caught:
            read_samples(source)
        assert str(caught.value).isprintable() and json.dumps(str(caught.value))
