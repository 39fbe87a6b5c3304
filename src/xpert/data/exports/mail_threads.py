"""Mails -> conversations in which each mail comes after the one that it answers.

Knows ids, subjects and dates; does not know MIME.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from xpert.data.exports.authors import Author, Said

_ANSWER = re.compile(
    r"\s*(?:(?:re|aw|antw|antwort|sv|vs|réf|ref|rv|res|rif|odp|ynt|отв|ответ|回复|回覆|答复|返信|답장)"
    r"\s*(?:\[\d{1,3}\]|\(\d{1,3}\))?\s*[:：]\s*)+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail; `answers` are ids that it answers, the nearest first; `date` in seconds, None where unknown."""

    id: str
    answers: tuple[str, ...]
    subject: str
    date: float | None
    author: Author
    text: str
    where: str


def threads(mails: Sequence[Mail]) -> list[list[Said]]:
    """Chains of answers. A second answer to one mail starts a chain of its own with that mail as context.

    Mails without a word of their own are left out, and what answers them answers what they answer. A mail that is
    there twice (sent and received) counts once.
    """
    ordered = _in_order(mails)
    parents = _parents(ordered)
    chains: list[list[Said]] = []
    chain_of: dict[int, int] = {}
    for number, mail in enumerate(ordered):
        if not mail.text:
            continue
        parent = parents[number]
        while parent is not None and not ordered[parent].text:
            parent = parents[parent]
        said = _said(mail)
        if parent is None or ordered[parent].author.id == mail.author.id:
            chain_of[number] = len(chains)
            chains.append([said])
        elif chains[chain_of[parent]][-1].where == ordered[parent].where:
            chain_of[number] = chain_of[parent]
            chains[chain_of[parent]].append(said)
        else:
            chain_of[number] = len(chains)
            chains.append([replace(_said(ordered[parent]), context=True), said])
    return chains


def _said(mail: Mail) -> Said:
    return Said(mail.author, mail.text, mail.where)


def _in_order(mails: Sequence[Mail]) -> list[Mail]:
    """By date; a mail without one stays after the mail before it. Copies are left out."""
    seen: set[tuple[str, str, str]] = set()
    dated: list[tuple[float, Mail]] = []
    last = 0.0
    for mail in mails:
        last = last if mail.date is None else mail.date
        key = (mail.id, mail.author.id, mail.text)
        if mail.id and key in seen:
            continue
        seen.add(key)
        dated.append((last, mail))
    return [mail for _, mail in sorted(dated, key=lambda pair: pair[0])]


def _parents(mails: Sequence[Mail]) -> list[int | None]:
    """What each mail answers: an earlier mail by id, or, where it names no id, by its subject."""
    by_id: dict[str, int] = {}
    by_subject: dict[str, list[int]] = {}
    parents: list[int | None] = []
    for number, mail in enumerate(mails):
        answer = _ANSWER.match(mail.subject)
        subject = " ".join(mail.subject[answer.end() if answer else 0 :].split()).casefold()
        parent = next((by_id[id] for id in mail.answers if id in by_id), None)
        if parent is None and not mail.answers and answer and subject:
            earlier = by_subject.get(subject, [])[-50:]
            parent = next((one for one in reversed(earlier) if mails[one].author.id != mail.author.id), None)
        parents.append(parent)
        if mail.id:
            by_id.setdefault(mail.id, number)
        by_subject.setdefault(subject, []).append(number)
    return parents
