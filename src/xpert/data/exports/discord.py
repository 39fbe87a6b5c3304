"""DiscordChatExporter's JSON and CSV -> conversations.

Messages of bots, notices of the program and messages without text are left out. In CSV, notices can only be told by
their words, which the exporter always writes in English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpert.data.exports.authors import Author, Export, Said, export_of
from xpert.data.exports.folders import files_in, text_if_any
from xpert.data.exports.tables import Table
from xpert.data.exports.values import id_of, objects, order_of, parsed, part_of, text_of
from xpert.printing import printable

_OWN_WORDS = frozenset({"Default", "Reply", "0", "19"})
_NOTICE = re.compile(
    r"(?:Joined the server|Pinned a message|Started a thread|Left the group|Changed the channel icon"
    r"|Added [^\n]{1,200} to the group|Removed [^\n]{1,200} from the group|Added a recipient|Removed a recipient"
    r"|Changed the channel name(?:: [^\n]{1,200})?|Started a call(?: that lasted [\d.,]+ minutes)?)\.?"
)
_EMOJI = re.compile(r"<a?(:\w{1,64}:)\d{1,25}>")
_MENTION = re.compile(r"<(@[!&]?|#)(\d{1,25})>")


def read_discord(path: str, value: Any) -> Export | None:
    """The channel of one JSON file; None for other JSON.

    Raises:
        DataError: a field that holds something else than the exporter writes there.
    """
    return _joined([_channel(path, value)]) if _is_channel(value) else None


def read_discord_table(table: Table) -> Export | None:
    """The channel of one CSV file; None for other tables."""
    return _joined([_table_channel(table)]) if _is_channel_table(table) else None


def read_discord_folder(folder: Path) -> Export | None:
    """The channels of a folder that holds files of the exporter, one a channel; None for other folders."""
    files = [file for file in files_in(folder) if file.suffix.casefold() in (".json", ".csv")]
    channels: list[list[Said]] = []
    for file in files:
        text, where = text_if_any(file), printable(str(file))
        if text is None:
            return None
        table, value = Table(where, text), parsed(text) if '"guild"' in text else None
        if _is_channel(value):
            channels.append(_channel(where, value))
        elif _is_channel_table(table):
            channels.append(_table_channel(table))
        else:
            return None
    return _joined(channels) if channels else None


def _joined(channels: list[list[Said]]) -> Export:
    """Channels as one export, in which an author is one person in all of them."""
    return export_of("Discord", channels)


def _is_channel(value: Any) -> bool:
    return isinstance(value, dict) and {"guild", "channel", "messages"} <= value.keys()


def _is_channel_table(table: Table) -> bool:
    return {"author", "date", "content", "attachments"} <= table.columns


def _channel(path: str, value: Any) -> list[Said]:
    found: list[tuple[int, Said]] = []
    for place, message in objects(path, value["messages"], "message"):
        writer = part_of(place, message, "author")
        author = _author(place, writer)
        kind = id_of(place, message.get("type"), "type") or "Default"
        if not author.id or writer.get("isBot") is True or kind not in _OWN_WORDS:
            continue
        text = plain_text(text_of(place, message.get("content"), "content"), _mentioned(place, message))
        # The exporter can write the newest message first; ids grow with time.
        found.append((order_of(message.get("id")), Said(author, text, place)))
    return [said for _, said in sorted(found, key=lambda pair: pair[0])]


def _table_channel(table: Table) -> list[Said]:
    channel: list[Said] = []
    for place, row in table.rows():
        name = text_of(place, row["author"], "Author")
        author = Author(row.get("authorid", "").strip() or name, name, (name.partition("#")[0],))
        text = plain_text(text_of(place, row["content"], "Content"), {})
        if author.id and not _NOTICE.fullmatch(text):
            channel.append(Said(author, text, place))
    return channel


def plain_text(text: str, names: Mapping[str, str]) -> str:
    """Discord's own marks as people read them: emoji by name, mentions with @ and #.

    Args:
        text: a message.
        names: ids of users -> names.
    """

    def mention(found: re.Match[str]) -> str:
        kind, id = found.groups()
        return "#channel" if kind == "#" else "@role" if kind == "@&" else f"@{names.get(id) or 'user'}"

    return _MENTION.sub(mention, _EMOJI.sub(r"\1", text))


def _author(place: str, writer: Mapping[str, Any]) -> Author:
    name = text_of(place, writer.get("name"), "name")
    shown = text_of(place, writer.get("nickname"), "nickname") or name
    number = id_of(place, writer.get("discriminator"), "discriminator")
    return Author(id_of(place, writer.get("id"), "id") or name, shown, (name, f"{name}#{number}"))


def _mentioned(place: str, message: Mapping[str, Any]) -> dict[str, str]:
    listed = message.get("mentions") or []
    people = [_author(where, person) for where, person in objects(place, listed, "mention")]
    return {person.id: person.name for person in people}
