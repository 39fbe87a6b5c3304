"""Instagram and Messenger: threads in the order of time, with their letters put right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xpert.data.exports.meta import mended
from xpert.errors import DataError


def spoiled(text: str) -> str:
    """As Meta writes it: each byte of the UTF-8 as a character."""
    return text.encode().decode("latin-1")


def said(time: int, who: str, content: str | None, **more: Any) -> dict[str, Any]:
    words = {} if content is None else {"content": spoiled(content)}
    return {"sender_name": spoiled(who), "timestamp_ms": 1714730400000 + time, **words, "type": "Generic", **more}


def thread(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    people = [{"name": spoiled("Zoë")}, {"name": "Wen"}]
    return {"participants": people, "messages": list(messages), "title": "Wen", "thread_path": "inbox/wen_1", **more}


TALK = [
    said(1, "Wen", "Čaj? 🍵"),
    said(2, "Zoë", "Ano, děkuju! 😀"),
    said(3, "Zoë", "Zoë sent an attachment.", share={"link": "https://x.example"}),
    said(4, "Zoë", "You sent an attachment."),
    said(5, "Zoë", "Zoë hat einen Anhang gesendet."),
    said(6, "Zoë", "Liked a message"),
    said(7, "Zoë", "Reacted ❤️ to your message "),
    said(8, "Zoë", "Zoë called you.", call_duration=12),
    said(9, "Zoë", "Zoë started a video chat.", type="Call"),
    said(10, "Zoë", None, photos=[{"uri": "a.jpg"}]),
    said(11, "Wen", "So when?", reactions=[{"reaction": "x", "actor": "y"}]),
    said(12, "Zoë", "gone", is_unsent=True),
    said(13, "Zoë", "You called me yesterday, remember?"),
    said(14, "Zoë", "five ☺", type="Share", share={"link": "https://tea.example"}),
    said(15, "Zoë", "Zoë left the group.", type="Unsubscribe"),
]
EXPECTED = [("Čaj? 🍵", "Ano, děkuju! 😀"), ("So when?", "You called me yesterday, remember?\nfive ☺")]


@pytest.mark.parametrize("text", ["", "plain", "Ünïcödé ✓ 日本語", "😀", "mix ñ 🍵 end"])
def test_letters_are_put_right_exactly(text: str) -> None:
    assert mended(spoiled(text)) == text
    if any(ord(letter) > 255 for letter in text):
        assert mended(text) == text


def test_latin_letters_that_are_right_stay_as_they_are() -> None:
    assert mended("café") == "café"


def test_one_file_is_read_in_the_order_of_time(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    assert told(write("message_1.json", json.dumps(thread(*TALK[::-1]))), "zoë") == EXPECTED


def test_the_files_of_a_thread_are_joined(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    write("wen_1/message_1.json", thread(*TALK[10:][::-1]))
    write("wen_1/message_2.json", thread(*TALK[1:10][::-1]))
    folder = write("wen_1/message_10.json", thread(*TALK[:1])).parent
    assert told(folder, "Zoë") == EXPECTED


@pytest.mark.parametrize(
    "inside",
    ["", "inbox", "messages/inbox", "your_instagram_activity/messages/inbox", "your_facebook_activity/messages/inbox"],
)
def test_an_inbox_and_a_whole_export_are_read(
    write: Callable[..., Path], told: Callable[..., Any], tmp_path: Path, inside: str
) -> None:
    write(f"export/{inside}/noor_2/message_1.json", thread(said(2, "Zoë", "tschüß"), said(1, "Noor", "Bye")))
    write(f"export/{inside}/wen_1/message_1.json", thread(*TALK[::-1]))
    write(f"export/{inside}/wen_1/photos/a.jpg", b"\xff\xd8")
    assert told(tmp_path / "export", "Zoë") == [("Bye", "tschüß"), *EXPECTED]


def test_encrypted_chats_have_other_names_and_proper_letters(
    write: Callable[..., Path], told: Callable[..., Any]
) -> None:
    def sent(time: int, who: str, text: str, type: str = "text", **more: Any) -> dict[str, Any]:
        return {"senderName": who, "text": text, "timestamp": time, "type": type, "isUnsent": False, **more}

    messages = [
        sent(3, "Zoë", "Ã© is a strange word", media=[]),
        sent(2, "Zoë", "", "media", media=[{"uri": "a.jpg"}]),
        sent(1, "Wen", "Hm?"),
        sent(4, "Zoë", "User unsent a message", isUnsent=True),
        sent(5, "Zoë", "Failed to download media"),
    ]
    value = {"participants": ["Zoë", "Wen"], "threadName": "Wen_1", "messages": messages}
    assert told(write("Wen_1.json", value), "Zoë") == [("Hm?", "Ã© is a strange word")]


def test_the_authors_are_listed(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"Zoë: 3, Wen: 2"):
        told(write("message_1.json", thread(*TALK)))


def test_the_only_one_who_wrote_need_not_be_the_person(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="'Wen' only"):
        told(write("message_1.json", thread(said(1, "Wen", "hello?"))))


def test_a_damaged_file_of_a_thread_is_named(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    write("wen_1/message_1.json", thread(*TALK))
    folder = write("wen_1/message_2.json", '{"participants": [], "mess').parent
    with pytest.raises(DataError, match=r"message_2\.json.*export it again"):
        told(folder, "Zoë")
