"""Which split a file belongs to, by the names that people and Hugging Face give files and folders.

Knows names only. A file of another split is never read in place of the wanted one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from xpert.errors import DataError
from xpert.printing import printable

_NAMES = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development", "validate"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "heldout", "holdout"), "test"),
}
_WORDS = "|".join([*sorted(_NAMES, key=len, reverse=True), r"held[-_. ]out", r"hold[-_. ]out"])
_NUMBERS = r"(?:[-_. ]?(?:v|of|part|shard|fold|split)?[-_. ]?\d+)*"
_END = re.compile(rf"(?:^|.*[-_. \d])({_WORDS}){_NUMBERS}(?:[-_. ]?(?:data|set|dataset|split))?", re.IGNORECASE)
_START = re.compile(rf"({_WORDS})(?:[-_. ].*|\d+.*)", re.IGNORECASE)
_HELD = "data|set|dataset|split|files?|samples|rows|texts|images?|imgs|pictures|pics|photos"
_START_OF_WORKS = re.compile(rf"({_WORDS})(?:[-_. ]?(?:{_HELD})){_NUMBERS}", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_TABLES = frozenset(".jsonl .ndjson .json .csv .tsv .tab .parquet .arrow".split())
"""Other files are a work each, a text or a picture, whose title may well begin with such a word: "test-drive"."""

_SHARD = re.compile(r"(?:^|.*/)data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*")
_SLICED = re.compile(r"(.+?)\[(-?\d+%?)?:(-?\d+%?)?\]")
_NAMED = 3


def split_name(name: str) -> str | None:
    """The split that a word names: "dev" is "validation", "held-out" is "test"; None where it names none."""
    return _NAMES.get(re.sub(r"[-_. ]", "", name.strip().casefold()))


def split_of(name: str) -> str | None:
    """The split of a file by its own name, else by that of a folder around it; None where neither names one.

    Args:
        name: relative to the source, with "/".
    """
    file = PurePosixPath(name)
    if file.suffix.lower() == ".gz":
        file = file.with_suffix("")
    start = _START if file.suffix.lower() in _TABLES else _START_OF_WORKS
    stem = _CAMEL.sub("_", file.stem)
    found = _END.fullmatch(stem) or start.fullmatch(stem)
    if found is not None:
        return split_name(found[1])
    if shard := _SHARD.fullmatch(name):
        return shard[1]
    return split_of_folder(name)


def split_of_folder(name: str) -> str | None:
    """The split that a file's folders name, the innermost first; None where none does."""
    for part in reversed(PurePosixPath(name).parent.parts):
        part = _CAMEL.sub("_", part)
        if found := _END.fullmatch(part) or _START_OF_WORKS.fullmatch(part):
            return split_name(found[1])
    return None


def files_of_split(folder: Path, files: Sequence[Path], split: str) -> list[Path]:
    """The files of one split, with those whose names tell no split.

    Args:
        folder: the source.
        files: of the folder, in order.
        split: its name; a folder without splits has "train" only.

    Raises:
        DataError: there is no such split; the text lists those that there are.
    """
    wanted = split_name(split) or split.strip()
    splits = [split_of(file.relative_to(folder).as_posix()) for file in files]
    if wanted in splits or (wanted == "train" and None in splits):
        return [file for file, found in zip(files, splits, strict=True) if found in (None, wanted)]
    raise no_split(folder, split, {found or "train" for found in splits})


def names_of_split(source: str, names: Sequence[str], splits: Sequence[str | None], split: str) -> list[str]:
    """The names that belong to one split; where no name has a split, all are "train".

    Args:
        source: for errors.
        names: of files.
        splits: of each, None where it names none.
        split: the wanted one.

    Raises:
        DataError: no such split; or some names have a split and others have none.
    """
    known = sorted({one for one in splits if one is not None}) or ["train"]
    wanted = split if split in known else split_name(split)
    if wanted not in known:
        raise no_split(source, split, known)
    bare = [name for name, one in zip(names, splits, strict=True) if one is None]
    if len(bare) == len(names):
        return list(names)
    if bare:
        shown = ", ".join(printable(name, 80) for name in bare[:_NAMED]) + (" ..." if len(bare) > _NAMED else "")
        raise DataError(
            f"{source} has folders of splits ({', '.join(printable(one, 40) for one in known)}), and {len(bare)} files "
            f"lie in none of them ({shown}): move them into one, or give the folder of the split itself"
        )
    return [name for name, one in zip(names, splits, strict=True) if one == wanted]


def no_split(source: str | Path, split: str, known: Iterable[str], *, in_files: bool = True) -> DataError:
    """The error for a split that a source does not have; `in_files`: where the parts can be given one by one, too."""
    shown = ", ".join(repr(printable(one, 80)) for one in sorted(known)) or "none"
    other = " (in Python split='...'), or give the files one by one" if in_files else ""
    return DataError(f"{source} has no split {printable(split, 40)!r}: choose one of {shown}{other}")


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
