"""What a case is, what a broken law is, and the laws that hold for every kind of input."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fuzz.guard import BAIT_TEXT, Bait

CANARY = "zqcanaryqz"
"""Every personal text starts with it; no error, no output and no file that is left may hold it, nor its start."""

OTHERS = "zqothersqz"
"""Every text that somebody else wrote starts with it; it may be a prompt, and never a response."""

_TELLTALE = CANARY[:6]


class BrokenLawError(Exception):
    """A law that was broken. `law` is the short name under which like faults are counted."""

    def __init__(self, law: str, detail: str) -> None:
        super().__init__(f"{law}: {detail}")
        self.law, self.detail = law, detail


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        source: what is read; nothing else may be.
        how: how it was made, in a few words.
        facts: what the reader of the kind needs besides.
    """

    source: Path
    how: str
    facts: Mapping[str, Any] = field(default_factory=dict)


class Kind(Protocol):
    """A module of one kind of input."""

    def prepare(self, room: Path) -> Any:
        """What all its cases share, made once."""

    def make(self, rng: random.Random, folder: Path, shared: Any, bait: Bait) -> Case:
        """Write the input of a case into an empty folder."""

    def read(self, case: Case, shared: Any) -> None:
        """Read it as a user does, and check what was accepted.

        Raises:
            XpertError: it is refused.
            BrokenLawError: what was accepted is not sound.
        """


def check_error(error: Exception) -> None:
    """The text of a refusal: it quotes no personal text, does nothing to a terminal, and says something."""
    from xpert.printing import printable

    text = str(error)
    if _TELLTALE in text.casefold():
        raise BrokenLawError("an error quotes personal text", text[:300])
    if BAIT_TEXT in text:
        raise BrokenLawError("an error quotes another file", text[:300])
    if printable(text) != text:
        raise BrokenLawError("an error holds characters that act on a terminal", ascii(text[:300]))
    if not text.strip():
        raise BrokenLawError("an error says nothing", type(error).__name__)


def check_texts(*texts: str | None) -> None:
    """Texts that were accepted: strings that can be written, and nothing of another file."""
    for text in texts:
        if text is None:
            continue
        if not isinstance(text, str) or not text.strip():
            raise BrokenLawError("accepts an empty text", repr(text)[:80])
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise BrokenLawError("accepts a text that cannot be written", str(error)) from error
        if BAIT_TEXT in text:
            raise BrokenLawError("accepts the text of another file", "a bait was read")


def check_printed(printed: str) -> None:
    """What libraries print meanwhile."""
    if _TELLTALE in printed.casefold():
        at = printed.casefold().index(_TELLTALE)
        raise BrokenLawError("prints personal text", ascii(printed[max(0, at - 200) : at + 40]))


def snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    """Every file below a folder (or the file itself): its mode, size and time of change."""
    found = {}
    for path in (root, *_below(root)):
        try:
            status = path.lstat()
        except OSError:
            continue
        found[os.fsencode(path).decode("latin-1")] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return found


def check_left(own: tuple[str, ...], before: set[Path]) -> set[Path]:
    """The files that are left in our folders; none that is new may hold personal text. Returns them."""
    after = {path for folder in own for path in _below(Path(folder)) if not path.is_dir()}
    for path in after - before:
        try:
            held = path.is_file() and CANARY.encode() in path.read_bytes()
        except OSError:
            continue
        if held:
            raise BrokenLawError("leaves a copy of personal text", path.name)
    return after


def _below(root: Path) -> Iterator[Path]:
    if root.is_dir() and not root.is_symlink():
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                yield Path(folder) / name
