"""Which split a file belongs to, by the names that datasets use. Knows names only.

Names are read as the hub's own library reads them: `test/a.png`, `data/train-00000-of-00002.parquet`, `me_test.jsonl`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from xpert.errors import DataError
from xpert.printing import printable

_KEYWORDS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "dev": "validation", "val": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
_APART = r"[-._ 0-9]"
_WORD = re.compile(
    rf"(?:^|{_APART})({'|'.join(sorted(_KEYWORDS, key=len, reverse=True))})(?:{_APART}|$)", re.IGNORECASE
)
_SHARD = re.compile(r"(?:^|/)data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*$")
_SLICED = re.compile(r"(.+?)\[(-?\d+%?)?:(-?\d+%?)?\]")
_NAMED = 3


def split_of_folder(name: str) -> str | None:
    """The split that a file's folders name, outermost first; None where none does."""
    for part in PurePosixPath(name).parent.parts:
        if found := _WORD.search(part):
            return _KEYWORDS[found[1].lower()]
    return None


def split_of(name: str) -> str | None:
    """The split that a file's folders or its own name name; None where neither does.

    Args:
        name: relative to the source, with "/".
    """
    if (split := split_of_folder(name)) is not None:
        return split
    if shard := _SHARD.search(name):
        return _KEYWORDS.get(shard[1].lower(), shard[1])
    found = _WORD.search(PurePosixPath(name).name)
    return None if found is None else _KEYWORDS[found[1].lower()]


def of_split(source: str, names: Sequence[str], splits: Sequence[str | None], split: str, *, strict: bool) -> list[str]:
    """The names that belong to one split.

    Where no name has a split, all are "train".

    Args:
        source: for errors.
        names: of files.
        splits: of each, None where it names none.
        split: the wanted one.
        strict: where some have a split, all must have one; otherwise those without belong to every split.

    Raises:
        DataError: no such split, or names without one where `strict`.
    """
    known = sorted({one for one in splits if one is not None}) or ["train"]
    if split not in known:
        raise no_split(source, split, known)
    bare = [name for name, one in zip(names, splits, strict=True) if one is None]
    if len(bare) == len(names):
        return list(names)
    if strict and bare:
        shown = ", ".join(printable(name, 80) for name in bare[:_NAMED]) + (" ..." if len(bare) > _NAMED else "")
        raise DataError(
            f"{source} has folders of splits ({', '.join(known)}), and {len(bare)} files lie in none of them "
            f"({shown}): move them into one, or give the folder of the split itself"
        )
    return [name for name, one in zip(names, splits, strict=True) if one in (None, split)]


def no_split(source: str, split: str, known: Sequence[str]) -> DataError:
    """The error for a split that a source does not have."""
    shown = ", ".join(repr(printable(one, 80)) for one in known) or "none"
    return DataError(f"{source} has no split {split!r}: choose one of {shown}")


def parse_slice(split: str) -> tuple[str, tuple[str | None, str | None] | None]:
    """A split such as "train[:10%]" as its name and the ends of the slice, None where there is no slice."""
    found = _SLICED.fullmatch(split.strip())
    return (split, None) if found is None else (found[1], (found[2], found[3]))


def slice_bounds(ends: tuple[str | None, str | None], count: int) -> slice:
    """The rows that a slice takes out of so many; shares are rounded to whole rows."""

    def place(end: str | None) -> int | None:
        if end is None or not end.endswith("%"):
            return None if end is None else int(end)
        return round(int(end[:-1]) * count / 100)

    return slice(place(ends[0]), place(ends[1]))
