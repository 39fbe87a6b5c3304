"""One row (names -> values) -> the samples in it.

Knows column names and instruction layouts; chats and senders are those of `turns`; does not know files. Errors never
quote the text itself, nor the name of a column that may be one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from xpert.data.contents import checked_text
from xpert.data.turns import CHATS, Turn, chat_turns, column_turns, row_turn
from xpert.errors import DataError, SettingsError
from xpert.records import Sample

_NO_INPUT = "<no input>"
_PROMPTS = ("prompt", "question", "instruction", "query", "context", "input")
_RESPONSES = ("response", "completion", "answer", "output", "text")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[_-][A-Za-z0-9]+){0,3}")
_LONGEST_NAME = 32
_UNDERSTOOD = (
    "Context/Input/Response, prompt/response, prompt/completion, question/answer, instruction(/input)/output, "
    "instruction(/context)/response, messages, or text alone"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source: where it stands (file and number, for errors) and its values by column name."""

    where: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Columns that belong together; `addition` is the optional second part of the prompt."""

    prompt: str | None
    addition: str | None
    response: str
    needs_addition: bool = False


_LAYOUTS = (
    _Layout("context", "input", "response", needs_addition=True),
    _Layout("prompt", None, "response"),
    _Layout("prompt", None, "completion"),
    _Layout("question", "context", "answer"),
    _Layout("instruction", "input", "output"),
    _Layout("instruction", "context", "response"),
    _Layout("context", None, "response"),
    _Layout("question", "context", "response"),
    _Layout("query", None, "response"),
    _Layout("query", None, "answer"),
    _Layout("input", None, "response"),
    _Layout("input", None, "output"),
)
_ALONE = ("text", "response")
KNOWN_COLUMNS = frozenset({*_PROMPTS, *_RESPONSES, *CHATS})
"""Names of columns that are understood, in lower case."""

Chat = list[Turn]
"""The turns of one chat."""


def join_context(context: str, text: str) -> str:
    """The prompt of an instruction with an input: both stripped, on lines of their own.

    The input is left out where it is empty or the marker "<no input>".
    """
    text = text.strip()
    if not text or text.casefold() == _NO_INPUT:
        return context.strip()
    return f"{context.strip()}\n{text}".strip()


def read_row(row: Row, *, prompt_column: str | None = None, response_column: str | None = None) -> Sample | Turn | Chat:
    """What one row is: a prompt and its response, one message of somebody, or a whole chat.

    Args:
        row: the row; column names are compared without regard to case.
        prompt_column: column of the prompt; None: found by its name.
        response_column: column of the person's text; None: found by its name.

    Raises:
        DataError: unknown columns, an empty response, or a value that is not text.
        SettingsError: both options name one column.
    """
    # An earlier spelling wins, so that two columns which differ only in case do not hide each other at random.
    names: dict[str, str] = {}
    for name in row.values:
        names.setdefault(str(name).strip().casefold(), name)
    if prompt_column is None and response_column is None:
        layout = _complete_layout(names)
        chat = next((row.values[names[name]] for name in CHATS if name in names), None)
        found = _talk(row, names, chat) if layout is None or chat is not None else None
        if found is not None:
            return found
        layout = layout or _text_alone(row, names)
    else:
        layout = _named_layout(row, names, prompt_column, response_column)
        turn = row_turn(row.where, row.values, response_column) if layout.prompt is None else None
        if turn is not None:
            return turn
    prompt = _prompt_text(row, names, layout.prompt) if layout.prompt else ""
    addition = _prompt_text(row, names, layout.addition) if layout.addition else ""
    column = names[layout.response]
    response = checked_text(row.where, str(column), row.values[column])
    if not response.strip():
        raise DataError(
            f"{row.where}: {column!r} is empty, every row needs the person's own text: fill the row in or delete it"
        )
    return Sample(join_context(prompt, addition) or None, response.strip())


def shown_columns(names: Iterable[object]) -> str:
    """The columns of a table for an error: by name where it looks like one, else counted, since it may be a text."""
    whole = list(map(str, names))
    strange = any(len(name) > _LONGEST_NAME or not _NAME.fullmatch(name) for name in whole)
    shown = [repr(name) for name in whole if not strange or name.casefold() in KNOWN_COLUMNS]
    others = len(whole) - len(shown)
    if others:
        kind = "that looks like a text and is" if others == 1 else "that look like texts and are"
        shown.append(f"{others} {kind} not shown (is the header missing?)")
    return ", ".join(shown) or "none"


def _talk(row: Row, names: Mapping[str, str], chat: Any) -> Turn | Chat | None:
    """The chat or message that a row is; None where it is none."""
    if isinstance(chat, list | dict):
        return chat_turns(row.where, chat)
    found = column_turns(row.where, row.values)
    if found is not None:
        return found
    # A column that looks like a prompt would be lost in a message.
    turn = None if any(name in names for name in _PROMPTS) else row_turn(row.where, row.values)
    return chat_turns(row.where, chat) if turn is None and chat is not None else turn


def _complete_layout(names: Mapping[str, str]) -> _Layout | None:
    for layout in _LAYOUTS:
        complete = not layout.needs_addition or layout.addition in names
        if complete and layout.prompt in names and layout.response in names:
            return layout
    return None


def _text_alone(row: Row, names: Mapping[str, str]) -> _Layout:
    # Text alone: only where no column looks like a prompt that would be lost.
    if not any(name in names for name in _PROMPTS):
        for name in _ALONE:
            if name in names:
                return _Layout(None, None, name)
    raise DataError(
        f"{row.where}: found columns {shown_columns(row.values)}; understood are {_UNDERSTOOD}: rename the "
        "columns, or say which they are with prompt_column and response_column"
    )


def _named_layout(row: Row, names: Mapping[str, str], prompt: str | None, response: str | None) -> _Layout:
    for option, wanted in (("prompt_column", prompt), ("response_column", response)):
        if wanted is not None and wanted.strip().casefold() not in names:
            raise DataError(
                f"{row.where}: no column {wanted!r} (from {option}); found columns {shown_columns(row.values)}"
            )
    if prompt is not None and response is not None and prompt.strip().casefold() == response.strip().casefold():
        raise SettingsError(f"prompt_column and response_column are both {prompt!r}: they must be two columns")
    if response is None:
        found = next((name for name in _RESPONSES if name in names and name != (prompt or "").strip().casefold()), None)
        if found is None:
            raise DataError(
                f"{row.where}: no column holds the person's text; found columns {shown_columns(row.values)}: name it "
                "with response_column"
            )
        assert prompt is not None  # one of the two is given
        return _Layout(prompt.strip().casefold(), None, found)
    key = response.strip().casefold()
    if prompt is not None:
        return _Layout(prompt.strip().casefold(), None, key)
    known = next((name for name in _PROMPTS if name in names and name != key), None)
    addition = "input" if known in ("instruction", "context") and "input" in names and key != "input" else None
    return _Layout(known, addition, key)


def _prompt_text(row: Row, names: Mapping[str, str], column: str) -> str:
    value = row.values[names[column]] if column in names else None
    return checked_text(row.where, column, value)
