"""Exports of messengers, assistants and mail programs -> conversations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xpert.data.conversations import Conversation


@dataclass(frozen=True)
class Export:
    """What the export of a program holds.

    Attributes:
        program: who wrote it, for people.
        conversations: its messages.
        me: the author who is known to be the person, where the export itself says so.
    """

    program: str
    conversations: list[Conversation]
    me: str | None


def read_export(path: Path, text: str | None) -> Export | None:
    """The conversations of one file; None where it is no export that is known.

    Args:
        path: the file.
        text: its content; None where it is no text.
    """
    return None


def read_export_folder(folder: Path) -> Export | None:
    """The conversations of a folder that a program wrote as a whole; None where it is none that is known."""
    return None
