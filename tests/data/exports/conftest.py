"""Exports, written where a test needs them and read as the data room reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xpert.data.conversations import chosen_author, samples_of
from xpert.data.exports import Export, read_export, read_export_folder

Pairs = list[tuple[str | None, str]]


def place(path: Path, content: Any) -> Path:
    """Write bytes, text or JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes | str):
        content = json.dumps(content, ensure_ascii=False)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def opened(source: Path) -> Export | None:
    if source.is_dir():
        return read_export_folder(source)
    content = source.read_bytes()
    try:
        return read_export(source, content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return read_export(source, None)


def pairs(source: Path, me: str | None = None) -> Pairs:
    export = opened(source)
    assert export is not None, f"{source.name} was not recognised"
    mine = chosen_author(str(source), export.conversations, export.person(me) or me)
    return [
        (sample.prompt, sample.response)
        for conversation in (export.conversations if mine is not None else ())
        for sample in samples_of(conversation, mine)
    ]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    return lambda name, content: place(tmp_path / name, content)


@pytest.fixture
def export_of() -> Callable[[Path], Export | None]:
    return opened


@pytest.fixture
def told() -> Callable[..., Pairs]:
    """The (prompt, response) pairs of one author."""
    return pairs
