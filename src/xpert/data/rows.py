"""One row (names -> values) -> the samples in it.

Knows column names, instruction layouts and chats; does not know files. Errors never quote the text itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xpert.errors import DataError, SettingsError
from xpert.records import Sample

_NO_INPUT = "<no input>"
_PROMPTS = ("prompt", "question", "instruction", "query", "context", "input")
_RESPONSES = ("response", "completion", "answer", "output", "text")
_CHATS = ("messages", "conversations", "conversation")
_USER = frozenset({"user", "human"})
_OTHER_SIDE = frozenset({"assistant", "gpt", "model", "bot", "chatbot"})
_SILENT = frozenset({"system", "developer", "tool", "function", "ipython"})
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


def join_context(context: str, text: str) -> str:
    """The prompt of an instruction with an input: both stripped, on lines of their own.

    The input is left out where it is empty or the marker "<no input>".
    """
    text = text.strip()
    if not text or text.casefold() == _NO_INPUT:
        return context.strip()
    return f"{context.strip()}\n{text}".strip()


def row_samples(row: Row, *, prompt_column: str | None = None, response_column: str | None = None) -> Iterator[Sample]:
    """The samples of one row: one for a prompt and its response, one for every turn of the user in a chat.

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
        chat = next((names[name] for name in _CHATS if name in names), None)
        if chat is not None and row.values[chat] is not None:
            yield from chat_samples(row.where, row.values[chat])
            return
        layout = _find_layout(row, names)
    else:
        layout = _named_layout(row, names, prompt_column, response_column)
    prompt = _prompt_text(row, names, layout.prompt) if layout.prompt else ""
    addition = _prompt_text(row, names, layout.addition) if layout.addition else ""
    response = _text(row.values[names[layout.response]], row.where, names[layout.response])
    if not response.strip():
        raise DataError(
            f"{row.where}: {names[layout.response]!r} is empty, every row needs the person's own text: "
            "fill the row in or delete it"
        )
    yield Sample(join_context(prompt, addition) or None, response.strip())


def chat_samples(where: str, messages: Any) -> Iterator[Sample]:
    """The user's own turns of a chat as responses; the prompt is the other side's turn right before, or None.

    Turns of system and tools are passed over, and so are turns that hold no text, such as pictures.

    Args:
        where: file and row, for errors.
        messages: list of {role, content} (or {from, value}); content is text or a list of parts {type, text}.

    Raises:
        DataError: not such a list, an unknown role, or an empty turn of the user.
    """
    if not isinstance(messages, list):
        raise DataError(f"{where}: the chat is {kind_of(messages)}, not a list of {{role, content}} messages")
    before: str | None = None
    for number, message in enumerate(messages, start=1):
        here = f"{where}, message {number}"
        role = _role(here, message)
        if role in _SILENT:
            continue
        content = _content(here, message)
        if role in _OTHER_SIDE:
            before = (content or "").strip() or None
            continue
        if content is not None:
            if not content.strip():
                raise DataError(f"{here}: the user's turn is empty: fill it in or delete the message")
            yield Sample(before, content.strip())
        before = None


def kind_of(value: Any) -> str:
    """What a value is, in words for errors: "a number", never the value itself, which is personal."""
    kinds = {type(None): "nothing", str: "text", bool: "a truth value", int: "a number", float: "a number"}
    kinds |= {dict: "an object", list: "a list"}
    return kinds.get(type(value), f"of type {type(value).__name__}")


def is_message(value: Any) -> bool:
    """True for one {role, content} (or {from, value}) turn of a chat."""
    return isinstance(value, dict) and ("role" in value or "from" in value) and ("content" in value or "value" in value)


def _role(here: str, message: Any) -> str:
    role = message.get("role", message.get("from")) if isinstance(message, dict) else None
    if not isinstance(role, str):
        raise DataError(f"{here}: {kind_of(message)} without a role: a message is {{role, content}}")
    name = role.strip().casefold()
    if name not in _USER | _OTHER_SIDE | _SILENT:
        raise DataError(
            f"{here}: unknown role {role!r}: call the person 'user' and the other side 'assistant' "
            f"(also known: {', '.join(sorted((_USER | _OTHER_SIDE | _SILENT) - {'user', 'assistant'}))})"
        )
    return name


def _content(here: str, message: Mapping[str, Any]) -> str | None:
    """The text of a turn; None where it holds none at all."""
    content = message.get("content", message.get("value"))
    if not isinstance(content, list):
        return None if content is None else _text(content, here, "content")
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    texts = [_text(part, here, "content") for part in parts if part is not None]
    return "\n".join(texts) if texts else None


def _find_layout(row: Row, names: Mapping[str, str]) -> _Layout:
    for layout in _LAYOUTS:
        complete = not layout.needs_addition or layout.addition in names
        if complete and layout.prompt in names and layout.response in names:
            return layout
    # Text alone: only where no column looks like a prompt that would be lost.
    if not any(name in names for name in _PROMPTS):
        for name in _ALONE:
            if name in names:
                return _Layout(None, None, name)
    raise DataError(
        f"{row.where}: found columns {_listed(row)}; understood are {_UNDERSTOOD}: rename the columns, or say which "
        "they are with prompt_column and response_column"
    )


def _named_layout(row: Row, names: Mapping[str, str], prompt: str | None, response: str | None) -> _Layout:
    for option, wanted in (("prompt_column", prompt), ("response_column", response)):
        if wanted is not None and wanted.strip().casefold() not in names:
            raise DataError(f"{row.where}: no column {wanted!r} (from {option}); found columns {_listed(row)}")
    if prompt is not None and response is not None and prompt.strip().casefold() == response.strip().casefold():
        raise SettingsError(f"prompt_column and response_column are both {prompt!r}: they must be two columns")
    if response is None:
        found = next((name for name in _RESPONSES if name in names and name != (prompt or "").strip().casefold()), None)
        if found is None:
            raise DataError(
                f"{row.where}: no column holds the person's text; found columns {_listed(row)}: name it with "
                "response_column"
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
    return "" if value is None else _text(value, row.where, names[column])


def _text(value: Any, where: str, column: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{where}: {column!r} is {kind_of(value)}, not text: write it as a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: {column!r} holds half a character (U+{ord(value[error.start]):04X}, a lone surrogate): "
            "export the data again, as UTF-8"
        ) from error
    return value


def _listed(row: Row) -> str:
    return ", ".join(repr(str(name)) for name in row.values) or "none"
