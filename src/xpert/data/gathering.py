"""The contents of the files of one source -> the samples of the person, in the order of the source.

Knows rows, turns and conversations, and that one person is chosen for the whole source; does not know files.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xpert.data.contents import bare, named_values
from xpert.data.conversations import Conversation, chosen_author, samples_of
from xpert.data.exports import Export
from xpert.data.rows import Row, read_row
from xpert.data.turns import Settled, Turn, settle
from xpert.errors import DataError
from xpert.printing import printable
from xpert.records import Sample

Content = Iterable[Row] | Export
"""What one file holds: rows, or conversations."""

_THREADS = (
    "conversationid chatid threadid channelid dialogid dialogueid sessionid roomid groupid chat chatname thread "
    "channel conversation room group groupname chatsession dialog dialogue session"
).split()
_DATES = ("timestamp", "date", "datetime", "time", "createdat", "sentat", "created", "ts", "messagedate")


@dataclass(frozen=True, slots=True)
class _Talk:
    """A conversation, and the author in it who is known to be the person."""

    conversation: Conversation
    me: str | None


_Found = Sample | list[Sample] | _Talk
"""A text that names no author; the texts of a chat's user; a conversation."""


def gather_samples(
    source: str,
    contents: Iterable[Content],
    *,
    me: str | None,
    prompt_column: str | None = None,
    response_column: str | None = None,
) -> list[Sample]:
    """The samples of all files; of conversations, those of one author.

    Args:
        source: file or folder, for errors.
        contents: of one file each.
        me: the author whose data it is, where conversations do not know it themselves; None: where there is one only.
        prompt_column, response_column: as `read_row` has them.

    Raises:
        DataError: a row or a conversation cannot be read, or there is no such author.
        SettingsError: both options name one column.
    """
    found: list[_Found] = []
    for content in contents:
        if isinstance(content, Export):
            person = content.person(me)
            found += [_Talk(conversation, person) for conversation in content.conversations]
        else:
            found += _of_rows(content, prompt_column, response_column)
    if me is not None and found and all(isinstance(item, Sample) for item in found):
        raise DataError(
            f"{printable(source)} does not say who wrote its texts, so --me NAME (in Python me='NAME') chooses "
            "nothing: leave it out, if all of them are yours"
        )
    talks = [item for item in found if isinstance(item, _Talk)]
    mine = chosen_author(source, (talk.conversation for talk in talks if talk.me is None), me)
    samples: list[Sample] = []
    for item in found:
        if isinstance(item, Sample):
            samples.append(item)
        elif isinstance(item, list):
            samples.extend(item)
        elif item.me is not None or mine is not None:
            samples.extend(samples_of(item.conversation, item.me or mine or ""))
    if me is not None and not samples:
        chosen_author(source, (talk.conversation for talk in talks), me)  # lists those who wrote, if `me` did not
    return samples


def _of_rows(rows: Iterable[Row], prompt_column: str | None, response_column: str | None) -> Iterator[_Found]:
    threads: dict[str, list[tuple[Row, Turn]]] = {}
    for row in rows:
        read = read_row(row, prompt_column=prompt_column, response_column=response_column)
        if isinstance(read, Sample):
            yield read
        elif isinstance(read, Turn):
            threads.setdefault(_thread(row), []).append((row, read))
        else:
            yield _settled(settle(read))
    for thread in threads.values():
        turns = [turn for _, turn in (reversed(thread) if _newest_first(thread) else thread)]
        yield _settled(settle(turns, mixed=True))


def _settled(settled: Settled) -> list[Sample] | _Talk:
    samples = [item for item in settled if isinstance(item, Sample)]
    messages = [item for item in settled if not isinstance(item, Sample)]
    return _Talk(messages, None) if messages else samples


def _thread(row: Row) -> str:
    values = named_values(row.values, _THREADS)
    return repr([values[name] for name in _THREADS if isinstance(values.get(name), str | int)])


def _newest_first(thread: list[tuple[Row, Turn]]) -> bool:
    """Whether the dates of a table run backwards, as some programs export them."""
    first = {bare(name): name for name in thread[0][0].values}
    column = next((first[name] for name in _DATES if name in first), None)
    if column is None:
        return False
    moments = [_moment(row.values.get(column)) for row, _ in thread]
    known = [moment for moment in moments if moment is not None]
    falling = all(later <= sooner for sooner, later in zip(known, known[1:], strict=False))
    return len(known) == len(moments) and falling and known[0] > known[-1]


def _moment(value: object) -> float | None:
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.datetime.fromisoformat(str(value)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
