"""What strangers wrote does nothing to a terminal."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from xpert import errors
from xpert.data import read_samples
from xpert.printing import escaped_json, printable, printable_name
from xpert.records import PoolRecord, WordCoefficient

HOSTILE = "a\x1b]0;own\x07\x9b31m\u202eb\ud800\rc"
HIDDEN = (0x061C, 0x180E, 0x200B, 0x200E, 0x202E, 0x2028, 0x2060, 0x2066, 0x2069, 0xFEFF, 0xFFF9, 0xE0041, 0xD800)


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


@pytest.mark.parametrize("code", [*range(0x00, 0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), *HIDDEN])
def test_every_character_that_acts_or_hides_is_caught(code: int) -> None:
    assert printable(f"a{chr(code)}b") == "a?b"
    assert printable_name(f"a{chr(code)}b") in ("a?b", "a b")
    document = json.dumps({"k": f"a{chr(code)}b"}, ensure_ascii=False)
    assert json.loads(escaped_json(document)) == {"k": f"a{chr(code)}b"}
    assert chr(code) not in escaped_json(document)


def test_a_name_is_one_line_and_keeps_its_end() -> None:
    assert printable_name("one\nerror: two\r\n\tthree\u2028four") == "one error: two three four"
    assert printable_name("fam\u200dily") == "fam?ily"
    cut = printable_name("x" * 500 + "the end", 60)
    assert len(cut) == 60 and cut.endswith("the end") and "…" in cut


def test_json_for_programs_stays_as_it_is() -> None:
    document = json.dumps({"k": ["zwei – ✓ 你好 👩\u200d🚀", 1.5, None]}, ensure_ascii=False, indent=2)
    assert escaped_json(document) == document


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
