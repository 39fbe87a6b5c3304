"""Discord's own data package ("Request my data") -> the person's messages.

The package has a folder `messages` with a folder for each channel (`c1234`, formerly `1234`), and in it a file
`messages.json` or `messages.csv`: only what the person wrote, so that every message stands alone, without a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xpert.data.exports.authors import Author, Export, Said, export_of
from xpert.data.exports.discord import plain_text
from xpert.data.exports.folders import file_at, folder_at, folders_in, text_if_any
from xpert.data.exports.tables import Table
from xpert.data.exports.values import objects, parsed, text_of
from xpert.data.files import read_text
from xpert.errors import DataError

_CHANNEL = re.compile(r"c?\d{5,25}")
_FIELDS = frozenset({"id", "timestamp", "contents"})


def read_channel(path: str, value: Any) -> Export | None:
    """The messages of a channel's `messages.json`; None for other JSON.

    Raises:
        DataError: a field that holds something else than Discord writes there.
    """
    if not (isinstance(value, list) and value and isinstance(value[0], dict)):
        return None
    if not {str(name).casefold() for name in value[0]} >= _FIELDS:
        return None
    return _export(_said(place, message.get("Contents")) for place, message in objects(path, value, "message"))


def read_channel_table(table: Table) -> Export | None:
    """The messages of a channel's `messages.csv`; None for other tables."""
    if not table.columns >= _FIELDS:
        return None
    return _export(_said(place, row["contents"]) for place, row in table.rows())


def read_package(folder: Path) -> Export | None:
    """The messages of a whole package, of its folder `messages` or of one channel; None for other folders.

    Raises:
        DataError: a file of a channel is damaged.
    """
    messages = folder_at(folder, "messages") or folder
    channels = [entry for entry in folders_in(messages) if _CHANNEL.fullmatch(entry.name)]
    files = [_channel_file(channel) for channel in [messages, *channels]]
    found = [file for file in files if file is not None]
    if not found or (found == [files[0]] and _channel_export(found[0], text_if_any(found[0]) or "") is None):
        return None
    said: list[Said] = []
    for file in found:
        text = read_text(file)
        export = _channel_export(file, text)
        if export is None:
            if text.strip() == "[]":
                continue
            raise DataError(f"{file} is not a channel of a Discord data package: request the package again")
        said += [Said(_ME, one.text, one.where) for conversation in export.conversations for one in conversation]
    return _export(said)


_ME = Author("me", "me")


def _channel_file(folder: Path) -> Path | None:
    return file_at(folder, "messages.json", "messages.csv")


def _channel_export(file: Path, text: str) -> Export | None:
    if file.suffix.casefold() == ".csv":
        return read_channel_table(Table(str(file), text))
    return read_channel(str(file), parsed(text))


def _said(place: str, contents: Any) -> Said:
    return Said(_ME, plain_text(text_of(place, contents, "Contents"), {}), place)


def _export(said: Iterable[Said]) -> Export:
    return export_of("Discord data package", [[one] for one in said if one.text], me=_ME)
