"""Instagram and Messenger ("Download your information", JSON) -> conversations.

A thread is a folder with `message_1.json`, `message_2.json`, ..., newest message first. Their text is UTF-8 that was
taken for Latin-1, and is put right. The export of encrypted chats has other names for the same fields, and proper text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xpert.data.contents import kind_of
from xpert.data.exports.authors import Author, Export, Said, export_of
from xpert.data.exports.folders import files_in, folder_at, folders_in, text_if_any
from xpert.data.exports.meta_notices import is_notice
from xpert.data.exports.values import moment_of, objects, parsed, text_of
from xpert.data.files import read_text
from xpert.errors import DataError

_FILE = re.compile(r"message(?:_(\d{1,6}))?\.json", re.IGNORECASE)
_BOXES = ("inbox", "e2ee_cutover", "archived_threads", "filtered_threads", "message_requests")
_INSIDE = ("your_instagram_activity", "your_facebook_activity", "your_activity_across_facebook", "messages")
_OWN_WORDS = frozenset({"", "generic", "share", "text"})
_PROGRAM = "Instagram or Messenger"


def read_thread(path: str, value: Any) -> Export | None:
    """The messages of one file; None for other JSON.

    Raises:
        DataError: a field that holds something else than Meta writes there.
    """
    return _export([[(path, value)]]) if _is_thread(value) else None


def read_meta_folder(folder: Path) -> Export | None:
    """The threads of an unpacked export, of its inbox, or the one whose folder it is; None for other folders.

    Raises:
        DataError: a file of a thread is damaged.
    """
    threads = [files for thread in _thread_folders(folder) if (files := _message_files(thread))]
    # Other programs write a message.json too; the first file decides whether this is Meta's.
    if not threads or not _is_thread(parsed(text_if_any(threads[0][0]) or "")):
        return None
    return _export([[(str(file), _value(file)) for file in files] for files in threads])


def mended(text: str) -> str:
    """Text that Meta exported: the UTF-8 that was taken for Latin-1; what is none stays as it is."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _is_thread(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list) or "participants" not in value:
        return False
    return any(isinstance(one, dict) and ("sender_name" in one or "senderName" in one) for one in value["messages"])


def _thread_folders(folder: Path) -> list[Path]:
    found = [folder, *folders_in(folder)]
    room: Path | None = folder
    for _ in range(3):  # export / your_instagram_activity / messages / inbox
        inner = folder_at(room, *_INSIDE) if room else None
        found += [thread for box in _boxes(inner or room) for thread in folders_in(box)]
        room = inner
    return list(dict.fromkeys(found))


def _boxes(folder: Path | None) -> list[Path]:
    found = [folder_at(folder, box) for box in _BOXES] if folder else []
    return [box for box in found if box]


def _message_files(folder: Path) -> list[Path]:
    numbered = [(int(found[1] or 0), file) for file in files_in(folder) if (found := _FILE.fullmatch(file.name))]
    return [file for _, file in sorted(numbered)]


def _value(file: Path) -> Any:
    value = parsed(read_text(file))
    if not isinstance(value, dict) or "messages" not in value:
        raise DataError(f"{file} is no thread of {_PROGRAM}, or broken JSON: the export is damaged, export it again")
    return value


def _export(threads: Iterable[list[tuple[str, Any]]]) -> Export:
    others: list[Author] = []
    conversations: list[list[Said]] = []
    for files in threads:
        found: list[tuple[float, Said]] = []
        for path, value in files:
            others += _participants(path, value)
            found += _messages(path, value)
        found.reverse()  # newest first in the file; messages of one moment keep the turned order
        conversations.append([said for _, said in sorted(found, key=lambda pair: pair[0])])
    return export_of(_PROGRAM, conversations, others=others)


def _participants(path: str, value: dict[str, Any]) -> list[Author]:
    listed = value.get("participants")
    if not isinstance(listed, list):
        raise DataError(
            f"{path}: 'participants' is {kind_of(listed)}, not a list: the export is damaged, export it again"
        )
    names = [text_of(path, one.get("name") if isinstance(one, dict) else one, "participants") for one in listed]
    return [_author(name, value) for name in names if name]


def _messages(path: str, value: dict[str, Any]) -> list[tuple[float, Said]]:
    found: list[tuple[float, Said]] = []
    for place, message in objects(path, value["messages"], "message"):
        name = text_of(place, message.get("sender_name", message.get("senderName")), "sender_name")
        kind = text_of(place, message.get("type"), "type").casefold()
        unsent = message.get("is_unsent") is True or message.get("isUnsent") is True
        if not name or unsent or kind not in _OWN_WORDS or "call_duration" in message:
            continue
        author = _author(name, value)
        text = text_of(place, message.get("content", message.get("text")), "content")
        text = text if _is_encrypted(value) else mended(text)
        time = message.get("timestamp_ms", message.get("timestamp"))
        found.append((moment_of(time), Said(author, "" if is_notice(text, author.name) else text, place)))
    return found


def _author(name: str, value: dict[str, Any]) -> Author:
    name = name if _is_encrypted(value) else mended(name)
    return Author(name, name)


def _is_encrypted(value: dict[str, Any]) -> bool:
    """True for the export of encrypted chats, whose text is as it should be."""
    return "threadName" in value
