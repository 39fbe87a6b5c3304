"""One file or folder -> the export that it is, whichever program wrote it; the one place that knows all programs.

What no program is known to write is None; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from xpert.data.exports import discord, discord_package, meta, slack, twitter
from xpert.data.exports.authors import Export
from xpert.data.exports.chatgpt import read_chatgpt
from xpert.data.exports.claude import read_claude
from xpert.data.exports.folders import files_in
from xpert.data.exports.mail import read_mail, read_mail_folder
from xpert.data.exports.tables import Table
from xpert.data.exports.telegram import read_telegram
from xpert.data.exports.values import parsed
from xpert.data.files import read_text
from xpert.printing import printable

# A part of the text that each file has, so that other JSON need not be parsed a second time.
_JSON: tuple[tuple[tuple[str, ...], Callable[[str, Any], Export | None]], ...] = (
    (('"messages"', '"chats"', '"left_chats"'), read_telegram),
    (('"guild"',), discord.read_discord),
    (('"Contents"',), discord_package.read_channel),
    (('"ts"',), slack.read_day),
    (('"mapping"',), read_chatgpt),
    (('"chat_messages"',), read_claude),
    (('"sender_name"', '"senderName"'), meta.read_thread),
)
_TABLES = (discord.read_discord_table, discord_package.read_channel_table)
_FOLDERS = (slack.read_slack_folder, discord_package.read_package, twitter.read_archive, meta.read_meta_folder)
_WHOLE = re.compile(r"result\.json|conversations(?:[-_]\d{1,6})?\.json", re.IGNORECASE)


def read_export(path: Path, text: str | None) -> Export | None:
    """The conversations of one exported file.

    Args:
        path: of the file.
        text: its content, decoded and decompressed; None where it is binary or not UTF-8.

    Returns:
        None where no program that we know writes such files.

    Raises:
        DataError: an export that is damaged; the text names the file, the place and the way out.
    """
    if text is not None:
        where = printable(str(path))
        start = text.lstrip("\ufeff \t\r\n")[:1]
        if start in ("{", "["):
            return _json_export(where, text)
        if twitter.is_archive(text):
            return twitter.read_archive_file(where, text)
        if _name(path).endswith(".csv"):
            return _table_export(where, text)
    return read_mail(path, text)


def read_export_folder(folder: Path) -> Export | None:
    """The conversations of an unpacked export, as `read_export` gives them.

    Only regular files inside the folder are opened.
    """
    for read in _FOLDERS:
        found = read(folder)
        if found is not None:
            return found
    whole = [file for file in files_in(folder) if _WHOLE.fullmatch(file.name)]
    parts = [found for file in whole if (found := read_export(file, read_text(file))) is not None]
    if parts and len({part.program for part in parts}) == 1:
        # The parts of one account: its authors have the same names in all of them.
        return replace(parts[0], conversations=[chat for part in parts for chat in part.conversations])
    return discord.read_discord_folder(folder) or read_mail_folder(folder)


def _json_export(where: str, text: str) -> Export | None:
    readers = [read for marks, read in _JSON if any(mark in text for mark in marks)]
    if not readers:
        return None
    value = parsed(text)
    return next((found for read in readers if (found := read(where, value)) is not None), None)


def _table_export(where: str, text: str) -> Export | None:
    table = Table(where, text)
    return next((found for read in _TABLES if (found := read(table)) is not None), None)


def _name(path: Path) -> str:
    return path.name.casefold().removesuffix(".gz")
