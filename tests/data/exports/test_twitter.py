"""The archive of Twitter: own posts one by one, and direct messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xpert.errors import DataError


def script(kind: str, value: Any) -> str:
    return f"window.YTD.{kind}.part0 = {json.dumps(value, indent=2)}"


def tweet(id: str, text: str, **more: Any) -> dict[str, Any]:
    return {"id_str": id, "id": id, "full_text": text, "retweeted": False, **more}


LINK = {"url": "https://t.co/abc", "expanded_url": "https://tea.example/all"}
TWEETS = [
    tweet("30", "third 🫖"),
    tweet("20", "Tea &amp; cake &lt;3 https://t.co/abc https://t.co/pic", entities={"urls": [LINK]}),
    tweet("25", "RT @wen: not mine"),
    tweet("28", "https://t.co/onlypic", entities={"media": []}),
    tweet("10", "@wen first"),
]
EXPECTED = [(None, "@wen first"), (None, "Tea & cake <3 https://tea.example/all"), (None, "third 🫖")]


@pytest.mark.parametrize(
    ("name", "kind", "wrapped"),
    [("tweets.js", "tweets", True), ("tweet.js", "tweet", False), ("community-tweet.js", "community_tweet", True)],
)
def test_own_posts_stand_alone(
    write: Callable[..., Path], told: Callable[..., Any], name: str, kind: str, wrapped: bool
) -> None:
    value = [{"tweet": one} for one in TWEETS] if wrapped else TWEETS
    assert told(write(name, script(kind, value))) == EXPECTED


def message(id: str, sender: str, text: str) -> dict[str, Any]:
    created = {"id": id, "senderId": sender, "recipientId": "9", "text": text, "createdAt": f"2024-05-03T10:00:{id}Z"}
    return {"messageCreate": {**created, "urls": [], "mediaUrls": []}}


CHATS = [
    {
        "dmConversation": {
            "conversationId": "5-7",
            "messages": [message("03", "5", "Yes &amp; no"), message("02", "7", "Tea?"), {"joinConversation": {}}],
        }
    }
]


def archive(write: Callable[..., Path]) -> Path:
    write("archive/data/tweets.js", script("tweets", [{"tweet": one} for one in TWEETS]))
    write("archive/data/tweets-part1.js", script("tweets", [{"tweet": tweet("40", "fourth")}]))
    write("archive/data/direct-messages.js", script("direct_messages", CHATS))
    write("archive/data/like.js", script("like", [{"like": {"fullText": "not mine"}}]))
    account = {"accountId": "5", "username": "mia_l", "accountDisplayName": "Mia", "email": "m@example.org"}
    return write("archive/data/account.js", script("account", [{"account": account}])).parent.parent


def test_a_whole_archive_knows_its_account(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    folder = archive(write)
    expected = [*EXPECTED, (None, "fourth"), ("Tea?", "Yes & no")]
    assert sorted(told(folder), key=str) == sorted(told(folder / "data", "Mia"), key=str) == sorted(expected, key=str)


def test_messages_alone_ask_who_the_person_is(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    file = write("direct-messages.js", script("direct_messages", CHATS))
    with pytest.raises(DataError, match=r"--me"):
        told(file)
    assert told(file, "5") == [("Tea?", "Yes & no")]


def test_messages_without_the_account_are_refused(write: Callable[..., Path], told: Callable[..., Any]) -> None:
    folder = archive(write)
    (folder / "data/account.js").unlink()
    with pytest.raises(DataError, match=r"account\.js"):
        told(folder)


def test_other_parts_and_other_scripts_are_no_texts(write: Callable[..., Path], export_of: Callable[..., Any]) -> None:
    assert export_of(write("like.js", script("like", []))) is None
    assert export_of(write("app.js", "const tweets = []; fetch('x')")) is None


@pytest.mark.parametrize("text", ["window.YTD.tweets.part0 = [{", "window.YTD.tweets.part0 = alert(1)"])
def test_a_damaged_file_is_refused_and_never_run(
    write: Callable[..., Path], told: Callable[..., Any], text: str
) -> None:
    with pytest.raises(DataError, match=r"tweets\.js.*download the archive again"):
        told(write("tweets.js", text))
