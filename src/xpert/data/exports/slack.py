"""A Slack export -> conversations: a whole workspace, the folder of one channel, or the file of one day.

Each thread is a conversation of its own that starts with the message that was answered. Bots, notices and files without
a comment are left out, and Slack's marks become what people see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xpert.data.exports.authors import Author, Export, Said, export_of
from xpert.data.exports.folders import file_at, files_in, folders_in, text_if_any
from xpert.data.exports.mrkdwn import plain_mrkdwn
from xpert.data.exports.values import id_of, moment_of, objects, parsed, part_of, text_of
from xpert.data.files import read_text
from xpert.errors import DataError

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\.json", re.IGNORECASE)
_TIME = re.compile(r"\d{1,12}\.\d{1,9}")
_OWN_WORDS = frozenset({"", "file_share", "me_message", "thread_broadcast"})
_FILE_NOTICE = re.compile(r"<@[^>\n]{1,200}>:? (?:uploaded|shared) a file: <[^>\n]{1,2000}>(?: and commented: )?")
_SLACKBOT = "USLACKBOT"


def read_day(path: str, value: Any) -> Export | None:
    """The messages of one day of one channel; None for other JSON.

    Raises:
        DataError: a field that holds something else than Slack writes there.
    """
    if not _is_day(value):
        return None
    return _export([list(_Workspace().messages(path, value))])


def read_slack_folder(folder: Path) -> Export | None:
    """The channels of an unpacked export, or the one channel whose folder it is; None for other folders.

    Raises:
        DataError: the file of a day, of the users or of the channels is damaged.
    """
    users, channels = file_at(folder, "users.json"), file_at(folder, "channels.json", "dms.json", "groups.json")
    inside = [(entry, _days(entry)) for entry in folders_in(folder)] if users or channels else []
    rooms = [days for _, days in inside if days] or ([days] if (days := _days(folder)) else [])
    if not any(_is_day(parsed(text_if_any(day) or "")) for days in rooms for day in days[:1]):
        return None
    workspace = _Workspace()
    for name in ("users.json", "org_users.json"):
        workspace.learn_people(file_at(folder, name))
    for name in ("channels.json", "groups.json", "mpims.json"):
        workspace.learn_channels(file_at(folder, name))
    return _export([[one for day in days for one in _day(workspace, day)] for days in rooms])


@dataclass(frozen=True, slots=True)
class _Posted:
    said: Said
    time: str
    thread: str


@dataclass
class _Workspace:
    """The people and channels of a workspace, by id."""

    people: dict[str, Author] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    bots: set[str] = field(default_factory=lambda: {_SLACKBOT})
    channels: dict[str, str] = field(default_factory=dict)

    def learn_people(self, file: Path | None) -> None:
        for place, user in _listed(file, "user"):
            id = id_of(place, user.get("id"), "id")
            profile = part_of(place, user, "profile")
            self._learn(_person(place, id, [profile, user]))
            if user.get("is_bot") is True:
                self.bots.add(id)

    def learn_channels(self, file: Path | None) -> None:
        for place, channel in _listed(file, "channel"):
            self.channels[id_of(place, channel.get("id"), "id")] = text_of(place, channel.get("name"), "name")

    def messages(self, path: str, value: Any) -> Iterator[_Posted]:
        for place, message in objects(path, value, "message"):
            id = id_of(place, message.get("user"), "user")
            kind = text_of(place, message.get("subtype"), "subtype")
            person = bool(id) and id not in self.bots and not message.get("bot_id")
            if not person or message.get("type", "message") != "message" or kind not in _OWN_WORDS:
                continue
            author = self._author(place, id, part_of(place, message, "user_profile"))
            text = _FILE_NOTICE.sub("", text_of(place, message.get("text"), "text"), count=1)
            text = plain_mrkdwn(text, self.names, self.channels)
            time = id_of(place, message.get("ts"), "ts")
            thread = id_of(place, message.get("thread_ts"), "thread_ts")
            yield _Posted(Said(author, text, place), time, thread)

    def _author(self, place: str, id: str, profile: Mapping[str, Any]) -> Author:
        if id not in self.people:
            found = _person(place, id, [profile])
            if found.name == id:
                return found
            self._learn(found)
        return self.people[id]

    def _learn(self, person: Author) -> None:
        self.people[person.id] = person
        self.names[person.id] = person.name


def _export(rooms: list[list[_Posted]]) -> Export:
    return export_of("Slack", [conversation for room in rooms for conversation in _threads(room)])


def _threads(room: list[_Posted]) -> Iterator[list[Said]]:
    """The messages of a channel without the replies, and each thread after the message that it answers."""
    room = sorted(room, key=lambda posted: moment_of(posted.time))
    at = {posted.time: posted for posted in room if posted.time}
    threads: dict[str, list[Said]] = {}
    main: list[Said] = []
    for posted in room:
        if posted.thread and posted.thread != posted.time:
            threads.setdefault(posted.thread, []).append(posted.said)
        else:
            main.append(posted.said)
    yield main
    for thread, replies in threads.items():
        first = at.get(thread)
        if first is None or (first.thread and first.thread != first.time):
            yield replies
        else:
            yield [Said(first.said.author, first.said.text, first.said.where, context=True), *replies]


def _person(place: str, id: str, profiles: list[Mapping[str, Any]]) -> Author:
    names = [
        text_of(place, profile.get(name), name)
        for name in ("display_name", "real_name", "name")
        for profile in profiles
    ]
    given = [name for name in names if name]
    return Author(id, given[0] if given else id, tuple(given))


def _day(workspace: _Workspace, file: Path) -> list[_Posted]:
    value = parsed(read_text(file))
    if value is None:
        raise DataError(
            f"{file} is the day of a Slack channel, and broken JSON: the export is damaged, export it again"
        )
    return list(workspace.messages(str(file), value))


def _days(folder: Path) -> list[Path]:
    return [file for file in files_in(folder) if _DAY.fullmatch(file.name)]


def _listed(file: Path | None, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if file is None:
        return
    value = parsed(read_text(file))
    if value is None:
        raise DataError(f"{file} is part of a Slack export, and broken JSON: the export is damaged, export it again")
    yield from objects(str(file), value, name)


def _is_day(value: Any) -> bool:
    return (
        isinstance(value, list)
        and any(isinstance(item, dict) and item.get("type") == "message" for item in value)
        and any(isinstance(item, dict) and _TIME.fullmatch(str(item.get("ts", ""))) is not None for item in value)
    )
