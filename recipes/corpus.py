"""The style data that the recipes read: `{name}_{train,test}.jsonl.gz` in one folder.

Knows the row format and the attributes of each style; writes nothing.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

DEFAULT_STYLE = "0"
STYLES = Path(__file__).with_name("styles.json")
ATTRIBUTES: dict[str, tuple[str, ...]] = {s: tuple(words) for s, words in json.loads(STYLES.read_text("utf-8")).items()}
WORDS = ("elementary", "expert", "humorous", "neutral", "concise", "detailed")
CONTRARY = {
    "elementary": "expert",
    "expert": "elementary",
    "humorous": "neutral",
    "neutral": "humorous",
    "concise": "detailed",
    "detailed": "concise",
}


@dataclass(frozen=True)
class Row:
    """One prompt and its answer in one style."""

    style: str
    prompt: str
    response: str


def join(context: str, text: str) -> str:
    """The prompt of a row: the instruction, then its input where there is one."""
    text = "" if text.strip() == "<no input>" else text.strip()
    return f"{context.strip()}\n{text}" if text else context.strip()


def read(folder: Path, style: str, split: str = "train") -> list[Row]:
    """All rows of one style and split, in file order."""
    with gzip.open(folder / f"{style}_{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Row(style, join(r["Context"], r["Input"]), r["Response"].strip()) for r in rows]
