"""What strangers wrote does nothing to a terminal."""

import pytest

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
