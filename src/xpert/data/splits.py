"""Files of a folder -> those of one split, by the names that people and Hugging Face give them.

Knows names only. A file of another split is never read in place of the wanted one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

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
_START_OF_PROSE = re.compile(
    rf"({_WORDS})(?:[-_. ]?(?:data|set|dataset|split|file|samples|rows|texts)){_NUMBERS}", re.IGNORECASE
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_PROSE = (".txt", ".text", ".md", ".markdown")


def split_name(name: str) -> str | None:
    """The split that a word names: "dev" is "validation", "held-out" is "test"; None where it names none."""
    return _NAMES.get(re.sub(r"[-_. ]", "", name.strip().casefold()))


def split_of(file: Path, folder: Path) -> str | None:
    """The split of a file by its own name, else by that of a folder around it inside the source."""
    stem = Path(file.stem) if file.suffix.lower() == ".gz" else file
    prose = stem.suffix.lower() in _PROSE
    start = _START_OF_PROSE if prose else _START
    name = _CAMEL.sub("_", stem.stem)
    found = _END.fullmatch(name) or start.fullmatch(name)
    if found is not None:
        return split_name(found[1])
    for part in reversed(file.relative_to(folder).parent.parts):
        named = _END.fullmatch(_CAMEL.sub("_", part))
        if named is not None:
            return split_name(named[1])
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
    wanted = split_name(split) or split.strip().casefold()
    splits = [split_of(file, folder) for file in files]
    if wanted in splits or (wanted == "train" and None in splits):
        return [file for file, found in zip(files, splits, strict=True) if found in (None, wanted)]
    there = sorted({found or "train" for found in splits})
    raise DataError(
        f"{folder} has no split {printable(split, 40)!r}: choose one of {', '.join(map(repr, there))} "
        "(in Python split='...'), or give the files one by one"
    )
