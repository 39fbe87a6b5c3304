"""The text of one format -> its rows, numbered from 1.

Knows JSON, JSONL, CSV, TSV and plain text; does not know what the columns mean.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xpert.data.contents import kind_of
from xpert.data.rows import KNOWN_COLUMNS, Row, shown_columns
from xpert.data.turns import is_message
from xpert.errors import DataError

_LARGEST_FIELD = 2**31 - 1  # what a C long holds everywhere
_LINE_END = re.compile(r"\r\n|\r|\n")
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w"])"?[,;\t ]*', re.IGNORECASE)


def jsonl_rows(path: Path, text: str) -> Iterator[Row]:
    """One JSON value a line; the number of a row is the number of its line. Empty lines are skipped.

    Raises:
        DataError: a line is not JSON, or not an object or chat.
    """
    # Not splitlines(): JSON strings may hold U+2028 and other characters that it would split at.
    for number, line in enumerate(_LINE_END.split(text), start=1):
        line = line.lstrip("\ufeff") if number > 1 else line  # files were joined
        if line.strip():
            where = f"{path}, row {number}"
            yield _json_row(where, _parse(where, line, "a row is one JSON object on one line, correct or delete it"))


def json_rows(path: Path, text: str) -> Iterator[Row]:
    """The elements of a JSON array; a single object, or a single chat (an array of messages), is one row.

    Raises:
        DataError: not JSON, or elements that are not objects or chats.
    """
    whole = _parse(str(path), text, "a JSON array of objects is expected; for one object a line use format='jsonl'")
    if isinstance(whole, dict):
        yield Row(f"{path}, row 1", whole)
    elif isinstance(whole, list) and whole and all(is_message(item) for item in whole):
        yield Row(f"{path}, row 1", {"messages": whole})
    elif isinstance(whole, list):
        for number, item in enumerate(whole, start=1):
            yield _json_row(f"{path}, row {number}", item)
    else:
        raise DataError(f"{path} holds {kind_of(whole)}: a JSON array of objects is expected")


def looks_like_lines(text: str) -> bool:
    """True when the first of several lines is a JSON value of its own, or the only line is an object."""
    first, *rest = _LINE_END.split(text.strip(), maxsplit=1)
    if not rest:
        return first.startswith("{")
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def csv_rows(path: Path, text: str, *, tabs: bool = False) -> Iterator[Row]:
    """The rows below the header line; rows are numbered without it. Fields may have any size.

    The first line may say the separator, as Excel writes it (`sep=;`). Else CSV files whose header has semicolons or
    tabs and no comma are read with these, as spreadsheets of many countries write them. Where files were joined, the
    header that stands between them is skipped.

    Raises:
        DataError: unclosed quotes, a row with more fields than the header, or another header between the rows.
    """
    delimiter, text = _delimiter(text, tabs)
    number = 0
    with _large_fields():
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header: list[str] = []
        try:
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                if not header:
                    header = _checked_header(path, fields)
                    continue
                where = f"{path}, row {number + 1} (line {reader.line_num})"
                if _is_header(where, header, fields):
                    continue
                number += 1
                if len(fields) > len(header):
                    raise DataError(
                        f"{where}: {len(fields)} fields, the header has {len(header)}: put quotes around a field "
                        "that holds the separator or a line break"
                    )
                fields = [_LINE_END.sub("\n", field) for field in fields]
                values = dict(zip(header, [*fields, *[""] * (len(header) - len(fields))], strict=True))
                yield Row(where, values)
        except csv.Error as error:
            raise DataError(
                f"{path}, row {number + 1} (line {reader.line_num}): broken {'TSV' if tabs else 'CSV'} ({error}): "
                'close every quote, and write a quote inside a field as ""'
            ) from error


def text_rows(path: Path, text: str) -> Iterator[Row]:
    """The paragraphs of a plain text, parted by blank lines; in a text without blank lines, its lines."""
    whole = text.replace("\r\n", "\n").replace("\r", "\n")
    whole = re.sub(r"^\ufeff+", "", whole, flags=re.MULTILINE).strip()  # files were joined
    paragraphs = re.split(r"\n\s*\n", whole)
    if len(paragraphs) == 1:
        paragraphs = whole.split("\n")
    for number, paragraph in enumerate(paragraphs, start=1):
        yield Row(f"{path}, paragraph {number}", {"text": paragraph})


def _delimiter(text: str, tabs: bool) -> tuple[str, str]:
    """The separator of a table, and its text from the header on."""
    text = text.lstrip("\r\n")
    first, *rest = _LINE_END.split(text, maxsplit=1)
    said = _SEPARATOR_LINE.fullmatch(first)
    if said is not None and rest:
        return said[1], rest[0]
    if tabs:
        return "\t", text
    return next((mark for mark in ";\t" if mark in first and "," not in first), ","), text


def _checked_header(path: Path, fields: list[str]) -> list[str]:
    twice = sorted({field for field in fields if field.strip() and fields.count(field) > 1})
    if twice:
        raise DataError(f"{path}: the header names {shown_columns(twice)} twice: rename one of the columns")
    return fields


def _is_header(where: str, header: list[str], fields: list[str]) -> bool:
    """Whether the fields of a row are the header again, between files that were joined."""
    marked = fields[0].startswith("\ufeff")
    fields[0] = fields[0].lstrip("\ufeff").removeprefix('"').removesuffix('"') if marked else fields[0]
    names, again = ([field.strip().casefold() for field in row] for row in (header, fields))
    said = again[0] == "sep=" or _SEPARATOR_LINE.fullmatch(again[0]) is not None
    if names == again or (said and not any(again[1:])):
        return True
    if marked or (len(names) > 1 and (sorted(names) == sorted(again) or KNOWN_COLUMNS.issuperset(again))):
        raise DataError(
            f"{where}: another file begins here, with other columns than the first: give the files one by one, or in a "
            "folder"
        )
    return False


def _parse(where: str, text: str, way_out: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if "\n" in text.strip() else f"column {error.colno}"
        raise DataError(f"{where}: broken JSON at {place} ({error.msg}): {way_out}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: JSON that cannot be read ({type(error).__name__}): {way_out}") from error


def _json_row(where: str, value: Any) -> Row:
    if isinstance(value, list):
        return Row(where, {"messages": value})
    if isinstance(value, dict):
        return Row(where, value)
    raise DataError(f'{where}: {kind_of(value)}, not a JSON object: write {{"prompt": ..., "response": ...}} instead')


@contextmanager
def _large_fields() -> Iterator[None]:
    """Lift the csv module's limit of 128 KiB a field, which is global, and put it back."""
    before = csv.field_size_limit(_LARGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)
