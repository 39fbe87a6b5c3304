"""Telegram Desktop: the person's own words, each after what was said to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xpert.errors import DataError

WEN, MIA = "user11", "user22"


def message(number: int, id: str | int, name: str | None, text: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "type": "message",
        "date": "2024-05-03T10:00:00",
        "date_unixtime": "1714730400",
        "from": name,
        "from_id": id,
        "text": text,
        **more,
    }


def chat(*messages: dict[str, Any], type: str = "personal_chat", name: str | None = "Wen") -> dict[str, Any]:
    return {"name": name, "type": type, "id": 11, "messages": list(messages)}


TALK = (
    message(1, WEN, "Wen", "Are you coming?"),
    message(2, MIA, "Mia", ["Yes! See ", {"type": "link", "text": "https://tea.example"}, " ", "🫖"]),
    message(3, WEN, "Wen", [{"type": "bold", "text": "Great"}]),
    message(4, MIA, "Mia", "", photo="photos/1.jpg"),
    message(5, MIA, "Mia", "", media_type="sticker", sticker_emoji="😀"),
    message(6, MIA, "Mia", "Read this", forwarded_from="News"),
    message(7, MIA, "Mia", "from somebody deleted", forwarded_from=None),
    message(8, MIA, "Mia", "/gif cat", via_bot="@gif"),
    {"id": 9, "type": "service", "actor": "Mia", "actor_id": MIA, "action": "pin_message", "text": "pinned"},
    message(10, MIA, "Mia", "My cake", photo="photos/2.jpg"),
    {"id": 11, "type": "unsupported", "from": "Mia", "from_id": MIA, "text": "?"},
)
EXPECTED = [("Are you coming?", "Yes! See https://tea.example 🫖"), ("Great", "My cake")]


def test_own_words_follow_what_was_said(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    assert told(write("result.json", chat(*TALK)), "mia") == EXPECTED


@pytest.mark.parametrize("name", ["result.json", "ChatExport_2024-05-03.json", "chat"])
def test_the_name_of_the_file_does_not_matter(write: Callable[..., Path], told: Callable[..., Any], name: str) -> None:
    assert told(write(name, chat(*TALK)), "Mia") == EXPECTED


def test_the_folder_of_an_export_is_read(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    write("export/result.json", chat(*TALK))
    folder = write("export/photos/1.jpg", b"\xff\xd8").parent.parent
    assert told(folder, "Mia") == EXPECTED


def test_exports_of_before_2021_have_numbers_for_people(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    file = write("result.json", chat(message(1, 11, "Wen", "Tea?"), message(2, 22, "Mia", "Always.")))
    assert told(file, "Mia") == [("Tea?", "Always.")]
    assert told(file, "user22") == [("Tea?", "Always.")]


def test_newer_exports_with_entities_alone(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    entities = [{"type": "plain", "text": "Au"}, {"type": "spoiler", "text": "thé"}]
    later = message(2, MIA, "Mia", None, text_entities=entities)
    assert told(write("result.json", chat(message(1, WEN, "Wen", "?"), later)), "Mia") == [("?", "Authé")]


def account(owner: dict[str, Any] | None) -> dict[str, Any]:
    group = chat(
        message(1, "user33", "Noor", "Отпуск?"), message(2, MIA, "Mia", "Да!"), type="private_supergroup", name="Trip"
    )
    left = chat(message(1, MIA, "Mia", "Bye all"), type="private_group", name="Old")
    about = {} if owner is None else {"personal_information": owner}
    return {"about": "…", **about, "chats": {"list": [chat(*TALK), group]}, "left_chats": {"list": [left]}}


def test_a_whole_account_knows_whose_it_is(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    owner = {"user_id": 22, "first_name": "Mia", "last_name": "", "phone_number": "+1"}
    file = write("result.json", account(owner))
    assert told(file) == [*EXPECTED, ("Отпуск?", "Да!"), (None, "Bye all")]


def test_a_whole_account_without_its_owner_asks(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    file = write("result.json", account(None))
    with pytest.raises(DataError, match=r"Mia: 4.*Wen: 2.*Noor: 1.*--me"):
        told(file)


def test_two_people_of_one_name_stay_two(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    file = write("result.json", chat(message(1, "user1", "Alex", "mine"), message(2, "user2", "alex", "not mine")))
    with pytest.raises(DataError, match=r"Alex \(user1\): 1, alex \(user2\): 1"):
        told(file)
    assert told(file, "user1") == [(None, "mine")]


def test_somebody_who_changed_the_name_stays_one(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    said = [message(1, MIA, "Mia", "before"), message(2, WEN, "Wen", "Hm?"), message(3, MIA, "Mia L.", "after")]
    file = write("result.json", chat(*said))
    assert told(file, "Mia L.") == told(file, "Mia") == [(None, "before"), ("Hm?", "after")]


def test_a_deleted_account_has_its_id_for_a_name(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    file = write("result.json", chat(message(1, "user99", None, "Anyone here?"), message(2, MIA, "Mia", "Me.")))
    assert told(file, "Mia") == [("Anyone here?", "Me.")]
    with pytest.raises(DataError, match="user99: 1"):
        told(file)


def test_the_only_one_who_wrote_need_not_be_the_person(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    file = write("result.json", chat(message(1, WEN, "Wen", "Hello?"), message(2, MIA, "Mia", "", photo="1.jpg")))
    with pytest.raises(DataError, match="'Wen' only"):
        told(file)
    assert told(file, "Wen") == [(None, "Hello?")]


def test_saved_messages_have_one_author(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    file = write("result.json", chat(message(1, MIA, "Mia", "Buy milk"), type="saved_messages", name=None))
    assert told(file) == [(None, "Buy milk")]
