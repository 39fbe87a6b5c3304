"""The archive of Twitter (X) -> the account's posts and direct messages.

Its files are JavaScript that sets a variable to JSON (`tweets.js`, formerly `tweet.js`; `direct-messages.js`); the
JSON is read, nothing is run. Reposts are left out, and so are addresses that stand for pictures.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xpert.data.exports.authors import Author, Export, Said, export_of
from xpert.data.exports.folders import files_in, folder_at
from xpert.data.exports.values import id_of, objects, order_of, parsed, part_of, text_of
from xpert.data.files import read_text
from xpert.errors import DataError

_START = re.compile(r"\s*window\.YTD\.(\w{1,60})\.part\d{1,6}\s*=\s*")
_TWEETS = frozenset({"tweet", "tweets", "community_tweet", "community_tweets"})
_MESSAGES = frozenset({"direct_message", "direct_messages", "direct_message_group", "direct_messages_group"})
_FILE = re.compile(
    r"(?:community-)?tweets?(?:-part\d{1,6})?\.js|direct-messages?(?:-group)?(?:-part\d{1,6})?\.js", re.I
)
_ADDRESS = re.compile(r"https://t\.co/\w{1,20}")
_ME = Author("me", "me")


def is_archive(text: str) -> bool:
    """True for the text of a file of the archive."""
    return _START.match(text[:200]) is not None


def read_archive_file(path: str, text: str) -> Export | None:
    """The posts or messages of one file; None for a part of the archive that holds neither, and for other text.

    Raises:
        DataError: broken JSON, or a field that holds something else than the archive has there.
    """
    kind, value = _value(path, text)
    if kind in _TWEETS:
        return export_of("Twitter", _tweets(path, value, _ME), me=_ME)
    if kind in _MESSAGES:
        return export_of("Twitter", _chats(path, value, None))
    return None


def read_archive(folder: Path) -> Export | None:
    """The posts and messages of an unpacked archive, or of its folder `data`; None for other folders.

    Raises:
        DataError: a file is damaged.
    """
    data = folder_at(folder, "data") or folder
    files = [file for file in files_in(data) if _FILE.fullmatch(file.name)]
    if not files:
        return None
    me = _account(data)
    conversations: list[list[Said]] = []
    for file in files:
        kind, value = _value(str(file), read_text(file))
        if kind in _TWEETS:
            conversations += _tweets(str(file), value, me or _ME)
        elif kind in _MESSAGES:
            if me is None:
                raise DataError(
                    f"{file}: who of the senders is the person stands in account.js, which is missing: add it from the "
                    "archive, or give the file alone and say who with --me NAME"
                )
            conversations += _chats(str(file), value, me)
    return export_of("Twitter", conversations, me=me or _ME)


def _value(path: str, text: str) -> tuple[str, Any]:
    start = _START.match(text[:200])
    if start is None:
        return "", None
    value = parsed(text[start.end() :].rstrip().removesuffix(";"))
    if value is None:
        raise DataError(f"{path} is a file of a Twitter archive with broken JSON: download the archive again")
    return start[1], value


def _account(data: Path) -> Author | None:
    file = next((file for file in files_in(data) if file.name.casefold() == "account.js"), None)
    if file is None:
        return None
    _, value = _value(str(file), read_text(file))
    for place, item in objects(str(file), value or [], "account"):
        account = part_of(place, item, "account")
        id = id_of(place, account.get("accountId"), "accountId")
        names = [text_of(place, account.get(name), name) for name in ("username", "accountDisplayName")]
        if id:
            return Author(id, next((name for name in names if name), "me"), ("me", *names))
    return None


def _tweets(path: str, value: Any, me: Author) -> list[list[Said]]:
    """Each post for itself: what it answers is not in the archive."""
    found: list[tuple[int, Said]] = []
    for place, item in objects(path, value, "tweet"):
        tweet = part_of(place, item, "tweet") or item
        text = text_of(place, tweet.get("full_text") or tweet.get("text"), "full_text")
        if not text.startswith("RT @"):
            words = _plain(place, text, tweet)
            if words:
                found.append((order_of(tweet.get("id_str", tweet.get("id"))), Said(me, words, place)))
    return [[said] for _, said in sorted(found, key=lambda pair: pair[0])]


def _plain(place: str, text: str, tweet: dict[str, Any]) -> str:
    """The words as they were shown: short addresses written out, those of pictures left out."""
    links = part_of(place, tweet, "entities").get("urls")
    long = {
        text_of(where, link.get("url"), "url"): text_of(where, link.get("expanded_url"), "expanded_url")
        for where, link in objects(place, links or [], "link")
    }
    return html.unescape(_ADDRESS.sub(lambda found: long.get(found[0], ""), text)).strip()


def _chats(path: str, value: Any, me: Author | None) -> Iterator[list[Said]]:
    for where, item in objects(path, value, "conversation"):
        chat = part_of(where, item, "dmConversation")
        found: list[tuple[str, int, Said]] = []
        for place, event in objects(where, chat.get("messages") or [], "message"):
            message = part_of(place, event, "messageCreate")
            id = id_of(place, message.get("senderId"), "senderId")
            text = _plain(
                place, text_of(place, message.get("text"), "text"), {"entities": {"urls": message.get("urls")}}
            )
            if id and text:
                time = text_of(place, message.get("createdAt"), "createdAt")[:40]
                author = me if me and me.id == id else Author(id, id)
                found.append((time, order_of(message.get("id")), Said(author, text, place)))
        yield [said for _, _, said in sorted(found, key=lambda one: one[:2])]
