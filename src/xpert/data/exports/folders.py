"""The files of an unpacked export: regular ones inside the folder, and nothing else.

Knows paths; does not know programs. A link that leads out of the folder is skipped, and so is a pipe or a device.
"""

from __future__ import annotations

from pathlib import Path

from xpert.data.files import read_text, unreadable
from xpert.errors import DataError

MAX_ENTRIES = 200_000
"""Files and folders that one folder may hold."""


def files_in(folder: Path) -> list[Path]:
    """The regular files right in a folder, sorted by name; hidden ones are left out."""
    return [entry for entry in _entries(folder) if entry.is_file() and _stays_inside(entry, folder)]


def folders_in(folder: Path) -> list[Path]:
    """The folders right in a folder, sorted by name; hidden ones are left out."""
    return [entry for entry in _entries(folder) if entry.is_dir() and _stays_inside(entry, folder)]


def file_at(folder: Path, *names: str) -> Path | None:
    """The first of these names (compared without regard to case) that is a file right in the folder."""
    found = {entry.name.casefold(): entry for entry in files_in(folder)}
    return next((found[name.casefold()] for name in names if name.casefold() in found), None)


def folder_at(folder: Path, *names: str) -> Path | None:
    """The first of these names (compared without regard to case) that is a folder right in the folder."""
    found = {entry.name.casefold(): entry for entry in folders_in(folder)}
    return next((found[name.casefold()] for name in names if name.casefold() in found), None)


def text_if_any(file: Path) -> str | None:
    """The text of a file that may be part of an export; None where it has none, so that other readers say why."""
    try:
        return read_text(file)
    except DataError:
        return None


def _entries(folder: Path) -> list[Path]:
    found: list[Path] = []
    try:
        for entry in folder.iterdir():
            if entry.name.startswith("."):
                continue
            if len(found) == MAX_ENTRIES:
                raise DataError(f"folder {folder} holds more than {MAX_ENTRIES} entries: give a part of it")
            found.append(entry)
    except OSError as error:
        raise unreadable(folder, error) from error
    return sorted(found)


def _stays_inside(entry: Path, folder: Path) -> bool:
    try:
        return not entry.is_symlink() or entry.resolve(strict=True).is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links is a RuntimeError
        return False
