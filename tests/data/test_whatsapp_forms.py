"""WhatsApp's text in more languages: dates with words, and what the program writes in place of a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpert.data import read_samples
from xpert.errors import DataError
from xpert.records import Sample


@pytest.mark.parametrize(
    "start",
    [
        "31.12.2024 klo 21.05 - ",
        "31.12.24 г., 21:05 ч. - ",
        "31. 12. 2024. 21:05 - ",
        "[۱۴۰۳/۱۰/۱۱، ۲۱:۰۵:۰۱] ",
        "३१/१२/२४, ९:०५ pm - ",
        "31/12/2567 21:05 น. - ",
        "[31/12/24, 9:05:01 μ.μ.] ",
        "31 de dic. de 2024, 21:05 - ",
        "2024-12-31 21 h 05 - ",
        "2024-12-31 à 21 h 05 - ",
        "[2024-12-31, 21 h 05 min 01 s] ",
        "31/12/2024, 21:05 — ",
    ],
)
@pytest.mark.parametrize("names", [("Wen", "Mia"), ("🌧️🐸 Ben", "🦄✨"), ("Wen - work", "\u202aميا\u202c")])
def test_dates_of_many_languages(tmp_path: Path, start: str, names: tuple[str, str]) -> None:
    other, me = names
    file = tmp_path / "_chat.txt"
    file.write_text(f"{start}{other}: Dinner?\n{start}{me}: Yes\nI bring cake\n{start}{other}: ok\n", encoding="utf-8")
    assert read_samples(file, me=me) == [Sample("Dinner?", "Yes\nI bring cake")]
    with pytest.raises(DataError, match="2 authors"):
        read_samples(file)


@pytest.mark.parametrize(
    "written",
    [
        "Standort: https://maps.google.com/?q=1,2",
        "Ubicación: https://maps.google.com/?q=-1.5,2",
        "Este mensaje ha sido eliminado",
        "Messaggio eliminato",
        "ข้อความนี้ถูกลบแล้ว",
        "삭제한 메시지입니다.",
        "\u200eENCUESTA:\n¿Qué?\n\u200eOPCIÓN: a (1 voto)",
        "\u200eUMFRAGE:\nWas?\n\u200eOPTION: a (1 Stimme)",
    ],
)
def test_what_nobody_wrote(tmp_path: Path, written: str) -> None:
    said = ["Wen: Dinner?", "Mia: Yes", f"Mia: {written}", "Wen: When?", f"Wen: {written}", "Mia: At 7"]
    file = tmp_path / "chat.txt"
    file.write_text("".join(f"31/12/2024, 21:05 - {one}\n" for one in said), encoding="utf-8")
    assert read_samples(file, me="Mia") == [Sample("Dinner?", "Yes"), Sample("When?", "At 7")]


def test_a_chat_inside_of_a_diary_is_refused(tmp_path: Path) -> None:
    diary = "".join(f"I wrote this on day {day}.\n" for day in range(30))
    chat = "".join(f"31/12/2024, 21:05 - {one}\n" for one in ("Wen: Hi", "Mia: Hello", "Wen: You?", "Mia: Fine"))
    file = tmp_path / "diary.txt"
    file.write_text(diary + chat + diary, encoding="utf-8")
    with pytest.raises(DataError, match="line 31: a chat of several people begins here"):
        read_samples(file)
    file.write_text(diary + "31/12/2024, 21:05 - Lunch: soup\n31/12/2024, 22:05 - Dinner: bread\n", encoding="utf-8")
    assert len(read_samples(file)) == 32
