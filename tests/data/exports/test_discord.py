"""Discord: channels of DiscordChatExporter in JSON and CSV, and Discord's own data package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xpert.errors import DataError

PEOPLE = {
    "mia": {"id": "1", "name": "mia", "discriminator": "0000", "nickname": "Mia L.", "isBot": False, "roles": []},
    "wen": {"id": "2", "name": "wen", "discriminator": "0042", "nickname": "Wen", "isBot": False},
    "bot": {"id": "3", "name": "helper", "discriminator": "0001", "isBot": True},
}
EXPECTED = [("Tea, @Mia L.?", "Sure :cat:\nat five"), ("Fine", "see you")]


def said(number: int, who: str, content: Any, type: Any = "Default", **more: Any) -> dict[str, Any]:
    return {"id": str(10**17 + number), "type": type, "content": content, "author": PEOPLE[who], **more}


def channel(*messages: dict[str, Any]) -> dict[str, Any]:
    about = {"guild": {"id": "9", "name": "Teahouse"}, "channel": {"id": "8", "type": "GuildTextChat", "name": "talk"}}
    return {**about, "dateRange": {}, "messages": list(messages), "messageCount": len(messages)}


TALK = (
    said(1, "wen", "Tea, <@1>?", mentions=[PEOPLE["mia"]]),
    said(2, "bot", "Welcome!"),
    said(3, "mia", "Sure <:cat:123456>", "Reply", reference={"messageId": "1"}),
    said(4, "mia", "Started a call that lasted 3 minutes.", "Call"),
    said(5, "mia", "", attachments=[{"id": "5", "fileName": "a.png"}]),
    said(6, "mia", "at five"),
    said(7, "mia", "Pinned a message.", "ChannelPinnedMessage"),
    said(8, "wen", "Fine"),
    said(9, "wen", "Joined the server.", "GuildMemberJoin"),
    said(10, "mia", "see you", "19"),
    said(11, "mia", "???", "SomethingNew"),
)


@pytest.mark.parametrize("me", ["Mia L.", "mia", "@mia", "MIA#0000", "1"])
def test_own_words_follow_what_was_said(write: Callable[..., Path], told: Callable[..., Any], me: str) -> None:
    assert told(write("talk.json", channel(*TALK)), me) == EXPECTED


def test_an_export_with_the_newest_message_first(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    assert told(write("talk.json", channel(*TALK[::-1])), "mia") == EXPECTED


def test_without_a_name_the_authors_are_listed_and_bots_are_not(
    write: Callable[..., Path], told: Callable[..., Any]
) -> None:
    with pytest.raises(DataError, match=r"2 authors \(Mia L\.: 3, Wen: 2\)"):
        told(write("talk.json", channel(*TALK)))


def test_a_folder_of_channels_is_one_export(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    write("server/a.json", channel(*TALK))
    alias = {**PEOPLE["mia"], "nickname": "Captain"}
    write("server/b.json", channel(said(1, "wen", "Ship?"), {**said(2, "mia", "Aye"), "author": alias}))
    folder = write("server/c.csv", f"{HEADER}\n2,wen,x,And?,,\n1,mia,x,Done,,\n").parent
    assert told(folder, "1") == [*EXPECTED, ("Ship?", "Aye"), ("And?", "Done")]


HEADER = "AuthorID,Author,Date,Content,Attachments,Reactions"


@pytest.mark.parametrize(
    ("header", "start"),
    [
        (HEADER, '"2",'),
        ("Author,Date,Content,Attachments", ""),
        ('"AuthorID","Author","Date","Content","Attachments"', "2,"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_is_read_like_json(
    write: Callable[..., Path], told: Callable[..., Any], header: str, start: str, end: str
) -> None:
    mine = start.replace("2", "1")
    rows = [
        f'{start}"wen#0042","05/03/2024 10:00 AM","Tea, ""black""?","","☕ (1)"',
        f'{mine}"mia#0000","05/03/2024 10:01 AM","Sure <a:cat:123456>","",""',
        f'{mine}"mia#0000","05/03/2024 10:02 AM","Pinned a message.","",""',
        f'{mine}"mia#0000","05/03/2024 10:03 AM","","https://cdn/x.png",""',
        f'{mine}"mia#0000","05/03/2024 10:04 AM","two\nlines","",""',
    ]
    file = write("talk.csv", end.join([header, *rows, ""]))
    assert told(file, "mia") == [('Tea, "black"?', "Sure :cat:\ntwo\nlines")]


PACKAGE_JSON = [
    {"ID": 111, "Timestamp": "2024-05-03 10:00:00", "Contents": "hello <@12345>", "Attachments": ""},
    {"ID": 112, "Timestamp": "2024-05-03 10:01:00", "Contents": "", "Attachments": "https://cdn/x.png"},
    {"ID": 113, "Timestamp": "2024-05-03 10:02:00", "Contents": "Grüße", "Attachments": ""},
]
PACKAGE_CSV = 'ID,Timestamp,Contents,Attachments\n7,2020-01-01 10:00:00,"old, yes",\n8,2020-01-01,,https://cdn/y.png\n'


def test_every_message_of_a_package_is_the_persons_own(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    assert told(write("messages.json", PACKAGE_JSON)) == [(None, "hello @user"), (None, "Grüße")]
    assert told(write("messages.csv", PACKAGE_CSV)) == [(None, "old, yes")]


@pytest.mark.parametrize("messages", ["messages", "Messages"])
def test_a_whole_package_is_read(write: Callable[..., Path], told: Callable[..., Any], messages: str) -> None:
    write(f"package/{messages}/c123456/messages.json", PACKAGE_JSON)
    write(f"package/{messages}/c123456/channel.json", {"id": "123456", "type": 1, "recipients": ["1", "2"]})
    write(f"package/{messages}/c999999/messages.json", [])
    write(f"package/{messages}/654321/messages.csv", PACKAGE_CSV)
    write(f"package/{messages}/index.json", {"123456": "Direct Message with wen#0042"})
    package = write("package/account/user.json", {"id": "1", "username": "mia"}).parent.parent
    expected = [(None, "old, yes"), (None, "hello @user"), (None, "Grüße")]
    assert sorted(told(package)) == sorted(expected)
    assert sorted(told(package / messages)) == sorted(expected)
    assert told(package / messages / "c123456") == expected[1:]


def test_a_damaged_channel_of_a_package_is_named(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    write("package/messages/c123456/messages.json", PACKAGE_JSON)
    folder = write("package/messages/c123457/messages.json", '[{"ID": 1, "Cont').parents[2]
    with pytest.raises(DataError, match=r"c123457.*request the package again"):
        told(folder)
