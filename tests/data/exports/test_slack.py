"""Slack: a workspace, a channel, a day; threads follow the message that they answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xpert.errors import DataError

USERS = [
    {"id": "U1", "name": "mia", "deleted": False, "profile": {"real_name": "Mia Lund", "display_name": "Mia"}},
    {"id": "U2", "name": "wen", "real_name": "Wen Ito", "profile": {"display_name": "", "real_name": "Wen Ito"}},
    {"id": "U3", "name": "gone", "deleted": True, "profile": {}},
    {"id": "U4", "name": "zap", "is_bot": True, "profile": {"real_name": "Zap"}},
]


def post(second: int, user: str | None, text: str, **more: Any) -> dict[str, Any]:
    return {"type": "message", "user": user, "text": text, "ts": f"17147304{second:02d}.000100", **more}


ROOT = "1714730403.000100"
DAY_1 = [
    post(1, "U2", "Morning &amp; welcome <@U1>, see <https://a.example|the plan> in <#C1|general> &lt;3"),
    post(2, "U1", "Thanks <!here>! mail <mailto:a@b.example|a@b.example> or <https://b.example>"),
    post(3, "U2", "Who brings cake?", thread_ts=ROOT, reply_count=2),
    post(4, "U1", "<@U2> has joined the channel", subtype="channel_join"),
    post(5, None, "build failed", subtype="bot_message", bot_id="B1", username="CI"),
    post(6, "U4", "zap!"),
    post(7, "U1", "", subtype="file_share", files=[{"id": "F1"}]),
    post(8, "U1", "<@U1|mia> uploaded a file: <https://f.example|x.png> and commented: my cat", subtype="file_share"),
    post(9, "USLACKBOT", "Reminder: tea"),
]
DAY_2 = [
    post(12, "U3", "And juice?", thread_ts=ROOT),
    post(13, "U1", "I do: <@U3>, <@U99>, <!subteam^S1|@bakers>, <#C1>", thread_ts=ROOT, subtype="thread_broadcast"),
    post(11, "U2", "Second day"),
    post(14, "U1", "Indeed", edited={"user": "U1"}),
]
GENERAL = [
    (
        "Morning & welcome @Mia, see the plan in #general <3",
        "Thanks @here! mail a@b.example or https://b.example",
    ),
    ("Who brings cake?", "my cat"),
    ("Second day", "Indeed"),
]
THREAD = [("And juice?", "I do: @gone, @U99, @bakers, #general")]


@pytest.fixture
def workspace(write: Callable[..., Path]) -> Path:
    write("export/users.json", USERS)
    write("export/channels.json", [{"id": "C1", "name": "general"}])
    write("export/integration_logs.json", [])
    write("export/canvases/x.json", {})
    write("export/general/2024-05-03.json", DAY_1)
    write("export/general/2024-05-04.json", DAY_2)
    write("export/D1/2024-05-03.json", [post(1, "U2", "Lunch?"), post(2, "U1", "No.", subtype="me_message")])
    return write("export/empty/2024-05-03.json", []).parent.parent


def test_a_workspace_is_read_with_its_threads(workspace: Path, told: Callable[..., Any]) -> None:
    assert told(workspace, "Mia") == [("Lunch?", "No."), *GENERAL, *THREAD]


@pytest.mark.parametrize("me", ["mia", "U1", "Mia Lund"])
def test_a_person_can_be_named_in_every_way(workspace: Path, told: Callable[..., Any], me: str) -> None:
    assert told(workspace, me) == told(workspace, "Mia")


def test_the_message_that_a_thread_answers_counts_once(workspace: Path, told: Callable[..., Any]) -> None:
    said = [response for _, response in told(workspace, "Wen Ito")]
    assert sum("Who brings cake?" in text for text in said) == 1


def test_the_authors_are_listed_and_bots_are_not(workspace: Path, told: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"3 authors \(Mia: 5, Wen Ito: 4, gone: 1\)"):
        told(workspace)


def test_one_channel_and_one_day(workspace: Path, told: Callable[..., Any]) -> None:
    assert [answer for _, answer in told(workspace / "general", "U1")][:1] == [
        "Thanks @here! mail a@b.example or https://b.example"
    ]
    assert told(workspace / "D1" / "2024-05-03.json", "U1") == [("Lunch?", "No.")]


def test_a_day_alone_takes_names_from_its_messages(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    about = {"display_name": "Mia", "real_name": "Mia Lund", "name": "mia"}
    day = [post(1, "U2", "Hi <@U1>"), post(2, "U1", "Yo", user_profile=about)]
    assert told(write("2024-05-03.json", day), "Mia Lund") == [("Hi @U1", "Yo")]


@pytest.mark.parametrize("file", ["users.json", "channels.json", "general/2024-05-04.json"])
@pytest.mark.parametrize("content", ['[{"id": "U1", "na', '{"ok": true}', "[1, 2]"])
def test_a_damaged_file_is_named(workspace: Path, told: Callable[..., Any], file: str, content: str) -> None:
    (workspace / file).write_text(content)
    with pytest.raises(DataError, match=file.rpartition("/")[2]):
        told(workspace, "Mia")


def test_links_that_lead_out_are_not_followed(
    workspace: Path, write: Callable[..., Path], told: Callable[..., Any]
) -> None:
    outside = write("elsewhere/2024-05-05.json", [post(1, "U1", "secret")]).parent
    (workspace / "linked").symlink_to(outside)
    (workspace / "general" / "2024-05-05.json").symlink_to(outside / "2024-05-05.json")
    assert "secret" not in str(told(workspace, "Mia"))
