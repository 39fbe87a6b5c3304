"""Exports of other kinds: chats with a language model, mail, tables of messages, and texts that no reader knows.

A writer takes messages and whether the export shall be sound, and gives the content of files by name.
"""

from __future__ import annotations

import csv
import io
import random
from email.message import EmailMessage
from typing import Any

from fuzz.exported_chats import ME, Files, Turn, spoiled
from fuzz.mutations import dumps
from fuzz.samples import theirs


def chatgpt(rng: random.Random, turns: list[Turn], sound: bool) -> Files:
    nodes: dict[str, Any] = {"root": {"id": "root", "parent": None, "children": ["n0"], "message": None}}
    for n, (author, text) in enumerate(turns):
        role = "user" if author == ME else "assistant"
        parts: list[Any] = (
            [text]
            if rng.random() < 0.8
            else [{"content_type": "image_asset_pointer", "asset_pointer": "http://127.0.0.1/x"}, text]
        )
        message = {"id": f"n{n}", "author": {"role": role, "name": None, "metadata": {}}, "create_time": float(n),
                   "content": {"content_type": "text" if len(parts) == 1 else "multimodal_text", "parts": parts},
                   "recipient": "all", "metadata": {}}  # fmt: skip
        nodes[f"n{n}"] = {
            "id": f"n{n}",
            "parent": f"n{n - 1}" if n else "root",
            "children": [f"n{n + 1}"] if n + 1 < len(turns) else [],
            "message": message,
        }
    if not sound and rng.random() < 0.5:  # a circle, and a parent that is not there
        nodes["n0"]["parent"] = rng.choice((f"n{len(turns) - 1}", "n0", "nobody", 7, None))
        nodes[f"n{len(turns) - 1}"]["children"] = rng.choice((["n0"], ["nobody"], 7))
    chat = {"title": "x", "create_time": 1.0, "mapping": nodes, "current_node": f"n{len(turns) - 1}"}
    return {"conversations.json": spoiled(rng, rng.choice((chat, [chat])), sound)}


def claude(rng: random.Random, turns: list[Turn], sound: bool) -> Files:
    messages = [
        {"uuid": str(n), "text": text, "sender": "human" if author == ME else "assistant", "attachments": [],
        "files": [],
         "content": [{"type": "text", "text": text}] if rng.random() < 0.7 else []}
        for n, (author, text) in enumerate(turns)
    ]  # fmt: skip
    return {
        "conversations.json": spoiled(
            rng, [{"uuid": "u", "name": "x", "created_at": "2024-01-01", "chat_messages": messages}], sound
        )
    }


def _mail(rng: random.Random, author: str, text: str, number: int, sound: bool) -> bytes:
    message = EmailMessage()
    address = "mia@example.org" if author == ME else "wen@example.org"
    message["From"] = f'"{ME if author == ME else "Wen"}" <{address}>'
    message["To"], message["Subject"], message["Date"] = (
        "other@example.org",
        "Re: Grüße",
        "Mon, 01 Jan 2024 00:00:00 +0000",
    )
    body = f"{text}\n"
    if rng.random() < 0.5 and author == ME:
        body += f"\nOn Mon, 1 Jan 2024 at 10:00, Wen <wen@example.org> wrote:\n> {theirs(rng)}\n> {theirs(rng)}\n"
    if rng.random() < 0.3:
        body += "\n-- \nsent with love\n"
    message.set_content(
        body, charset=rng.choice(("utf-8", "utf-8", "utf-16")), cte=rng.choice(("base64", "quoted-printable"))
    )
    if rng.random() < 0.3:
        message.add_alternative(f"<html><body><p>{text}</p></body></html>", subtype="html")
    if rng.random() < 0.2:
        message.add_attachment(b"\x89PNG" + bytes(50), maintype="image", subtype="png", filename="../../etc/hostname")
    raw = message.as_bytes()
    if not sound:
        raw = raw.replace(b"utf-8", rng.choice((b"nobody", b"utf-7", b"rot13", b"unicode_escape", b"utf-8"))).replace(
            b"From:", rng.choice((b"From:", b"X:", b"From")), 1
        )
    return raw


def mbox(rng: random.Random, turns: list[Turn], sound: bool) -> Files:
    parts = [
        b"From x@example.org Mon Jan  1 00:00:00 2024\n" + _mail(rng, author, text, n, sound) + b"\n"
        for n, (author, text) in enumerate(turns)
    ]
    return {rng.choice(("mail.mbox", "Sent.mbox")): b"".join(parts)}


def eml(rng: random.Random, turns: list[Turn], sound: bool) -> Files:
    return {f"{n}.eml": _mail(rng, author, text, n, sound) for n, (author, text) in enumerate(turns)}


def table(rng: random.Random, turns: list[Turn], sound: bool) -> Files:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=rng.choice(",;"))
    header = rng.choice(
        (
            ["from", "text"],
            ["sender", "text"],
            ["author", "text"],
            ["name", "text"],
            ["user", "text"],
            ["Sender", "date", "Text"],
            ["from", "to", "text"],
        )
    )
    writer.writerow(header)
    for author, text in turns:
        writer.writerow(
            [author, *["2024-01-01"] * (len(header) - 2), text] if sound or rng.random() < 0.9 else [author]
        )
    return {"messages.csv": stream.getvalue()}


def tagged(rng: random.Random, turns: list[Turn], _sound: bool) -> Files:
    """Kinds of text that no reader knows: what is not the person's must not be taken for it."""
    said = [f'<div class="from">{author}</div><div class="text">{text}</div>' for author, text in turns]
    # What others wrote stands in an archive of X only as it was posted again.
    posts = [text if author == ME else f"RT @wen: {text}" for author, text in turns]
    tweets = "window.YTD.tweets.part0 = " + dumps([{"tweet": {"full_text": text}} for text in posts])
    return rng.choice(({"page.html": "<html>" + "\n".join(said) + "</html>"},
    {"sms.xml": "<smses>" + "".join(said) + "</smses>"}, {"tweets.js": tweets},
                       {"cards.vcf": "".join(f"BEGIN:VCARD\nFN:{author}\nNOTE:{text}\nEND:VCARD\n" for author,
                       text in turns)},
                       {"talk.srt": "".join(f"{n}\n00:00:01,000 --> 00:00:02,000\n{author}: {text}\n\n" for n, (author,
                       text) in enumerate(turns))}))  # fmt: skip
