"""Exports of programs in which several people write: WhatsApp, Telegram, Discord, Slack, Messenger.

A writer takes messages and whether the export shall be sound, and gives the content of files by name.
"""

from __future__ import annotations

import csv
import datetime
import io
import random
from typing import Any

from fuzz import samples
from fuzz.mutations import dumps, misspell, mutate_json
from fuzz.samples import theirs

ME = "Mia Example"
NAMES = ("Wen", "Dr. Ana-Lucía: PhD", "+49 170 1234567", "佐藤", "Bob [work]")
Turn = tuple[str, str]
Files = dict[str, str | bytes]


def spoiled(rng: random.Random, value: Any, sound: bool) -> str | bytes:
    """JSON of a value, as it is or changed."""
    if sound:
        return dumps(value)
    text = dumps(mutate_json(rng, value))
    return misspell(rng, text) if rng.random() < 0.2 else text


def _time(number: int) -> datetime.datetime:
    return datetime.datetime(2024, 1, 13, 9, 5, 7) + datetime.timedelta(hours=7 * number)


def whatsapp(rng: random.Random, turns: list[Turn], sound: bool) -> Files:
    form = rng.choice(
        ("%d/%m/%y, %H:%M - {}", "%m/%d/%y, %I:%M %p - {}", "%d.%m.%y, %H:%M - {}", "[%d.%m.%y, %H:%M:%S] {}",
        "[%d/%m/%Y, %I:%M:%S\u202f%p] {}",
         "%Y-%m-%d, %H:%M - {}", "%d/%m/%Y %H:%M - {}", "\u200e[%d.%m.%y, %H:%M:%S] {}", "%d-%m-%Y %H:%M - {}",
         "%Y/%m/%d, %H:%M - {}")
    )  # fmt: skip
    notices = (
        "Messages and calls are end-to-end encrypted. Tap to learn more.",
        f"{NAMES[0]} added you",
        "You created group \u201cx\u201d",
    )
    media = (
        "<Media omitted>",
        "\u200eimage omitted",
        "IMG-1.jpg (file attached)",
        "This message was deleted",
        "<attached: a.jpg>",
        "null",
    )
    lines = [_time(0).strftime(form).format(rng.choice(notices))] if rng.random() < 0.7 else []
    for number, (author, text) in enumerate(turns):
        more = f"\n{samples.words(rng)}\n\n{samples.words(rng)}" if rng.random() < 0.25 else ""
        lines.append(_time(number).strftime(form).format(f"{author}: {text}{more}"))
        if rng.random() < 0.2:
            lines.append(_time(number).strftime(form).format(f"{author}: {rng.choice(media)}"))
        if not sound and rng.random() < 0.2:
            lines.append(
                rng.choice(
                    (
                        "31/31/99, 99:99 - X: y",
                        "1/1/1, 1:1 - : ",
                        "[] x: y",
                        "12/31/24, 9:05 PM -",
                        "\u200e" * 50,
                        "1" * 3000 + "/1/1, 1:1 - a: b",
                    )
                )
            )
    end = rng.choice(("\n", "\n", "\r\n"))
    name = rng.choice(("_chat.txt", "WhatsApp Chat with Wen.txt", "chat.txt"))
    return {name: rng.choice(("", "\ufeff")) + end.join(lines) + end}


def telegram(rng: random.Random, turns: list[Turn], sound: bool) -> Files:
    messages: list[dict[str, Any]] = [
        {"id": 0, "type": "service", "actor": NAMES[0], "action": "create_group", "text": ""}
    ]
    for number, (author, text) in enumerate(turns):
        said: Any = text if rng.random() < 0.7 else [text + " ", {"type": "bold", "text": samples.words(rng)}]
        messages.append(
            {
                "id": number + 1,
                "type": "message",
                "date": _time(number).isoformat(),
                "from": author,
                "from_id": f"user{sum(map(ord, author))}",
                "text": said,
            }
        )
        if rng.random() < 0.2:
            messages.append(
                {
                    "id": 99,
                    "type": "message",
                    "from": author,
                    "from_id": "x",
                    "photo": "(File not included)",
                    "text": "",
                }
            )
        if not sound and rng.random() < 0.2:
            messages.append({"type": "message", "from": None, "text": theirs(rng)})
    chat = {"name": "Wen", "type": "personal_chat", "id": 7, "messages": messages}
    whole = (
        chat
        if rng.random() < 0.6
        else {"about": "x", "personal_information": {"first_name": "Mia"}, "chats": {"list": [chat]}}
    )
    return {"result.json": spoiled(rng, whole, sound)}


def discord(rng: random.Random, turns: list[Turn], sound: bool) -> Files:
    if rng.random() < 0.4:
        stream = io.StringIO()
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerow(["AuthorID", "Author", "Date", "Content", "Attachments", "Reactions"])
        writer.writerows(
            [str(len(author)), author, _time(n).isoformat(), text, "", ""] for n, (author, text) in enumerate(turns)
        )
        return {"discord.csv": stream.getvalue()}
    messages = [
        {"id": str(n), "type": "Default", "timestamp": _time(n).isoformat(), "content": text, "attachments": [],
         "author": {"id": str(len(author)), "name": author, "nickname": author, "isBot": False}}
        for n, (author, text) in enumerate(turns)
    ]  # fmt: skip
    return {
        "discord.json": spoiled(
            rng,
            {
                "guild": {"name": "x"},
                "channel": {"name": "general"},
                "messages": messages,
                "messageCount": len(messages),
            },
            sound,
        )
    }


def slack(rng: random.Random, turns: list[Turn], sound: bool) -> Files:
    people = sorted({author for author, _ in turns} | {ME})
    users = [
        {"id": f"U{n}", "name": name.lower(), "real_name": name, "profile": {"real_name": name, "display_name": name}}
        for n, name in enumerate(people)
    ]
    messages = [
        {"type": "message", "user": f"U{people.index(author)}", "text": text, "ts": f"17000000{n:02}.000100"}
        for n, (author, text) in enumerate(turns)
    ]
    messages.insert(
        0,
        {
            "type": "message",
            "subtype": "channel_join",
            "user": "U0",
            "text": "<@U0> has joined the channel",
            "ts": "1.0",
        },
    )
    return {"users.json": spoiled(rng, users, sound or rng.random() < 0.5),
    "channels.json": '[{"id": "C0", "name": "general"}]',
            "general/2024-01-13.json": spoiled(rng, messages, sound)}  # fmt: skip


def messenger(rng: random.Random, turns: list[Turn], sound: bool) -> Files:
    def broken(text: str) -> str:
        return text.encode("utf-8").decode("latin-1")  # as Meta writes UTF-8

    messages = [
        {"sender_name": broken(author), "timestamp_ms": 1_700_000_000_000 - n, "content": broken(text)}
        for n, (author, text) in enumerate(reversed(turns))
    ]
    if rng.random() < 0.4:
        messages.append({"sender_name": broken(NAMES[0]), "timestamp_ms": 1, "photos": [{"uri": "/etc/hostname"}]})
    people = [{"name": broken(name)} for name in sorted({author for author, _ in turns})]
    return {
        "message_1.json": spoiled(
            rng, {"participants": people, "messages": messages, "title": "x", "thread_path": "inbox/x"}, sound
        )
    }
