"""A person's rows for the generators of data, and what holds for all data that is accepted."""

from __future__ import annotations

import inspect
import random
from pathlib import Path
from typing import Any

from fuzz.cases import CANARY, OTHERS, BrokenLawError, Case, check_texts
from fuzz.mutations import spoil_text

_WORDS = ("rain soup tomorrow garden, remember; why? the: \"old\" boat's train-station 12:30 [note] (maybe) naïve "
          "Grüße спасибо 東京 🙂 https://example.org/a?b=c# 50% & <b> - – … I you not never again").split()  # fmt: skip

LAYOUTS: tuple[tuple[str, ...], ...] = (
    ("prompt", "response"), ("question", "answer"), ("instruction", "input", "output"), ("Context", "Input",
    "Response"),
    ("prompt", "completion"), ("text",), ("instruction", "output"), ("Prompt", "RESPONSE"), ("input", "output"),
    ("query", "response"),
    ("id", "prompt", "response", "date"),
)  # fmt: skip


def words(rng: random.Random, most: int = 12) -> str:
    """Some words on one line."""
    return " ".join(rng.choice(_WORDS) for _ in range(rng.randrange(1, most)))


def mine(rng: random.Random) -> str:
    """A text of the person."""
    return f"{CANARY} m{rng.randrange(10**9)} {words(rng)}"


def mark(text: str) -> str:
    """What a text of the person can be found by."""
    return text[: len(CANARY) + 1] + text[len(CANARY) + 1 :].split()[0]


def theirs(rng: random.Random) -> str:
    """A text of somebody else, which is personal too."""
    return f"{OTHERS} {CANARY} {words(rng)}"


def lines(rng: random.Random, text: str) -> str:
    """A text, sometimes of several lines."""
    return text if rng.random() < 0.7 else f"{text}\n{words(rng)}\n\n{words(rng)}"


def row(rng: random.Random, columns: tuple[str, ...]) -> dict[str, Any]:
    """One row; its texts are personal."""
    return {column: rng.randrange(99) if column == "id" else mine(rng) for column in columns}


def rows(rng: random.Random, most: int = 5) -> list[dict[str, Any]]:
    """Some rows of one layout, now and then with an odd text in them."""
    columns = rng.choice(LAYOUTS)
    made = [row(rng, columns) for _ in range(rng.randrange(1, most))]
    if rng.random() < 0.3:
        one = rng.choice(made)
        column = rng.choice(list(one))
        one[column] = spoil_text(rng, str(one[column]))
    return made


def write(file: Path, content: bytes | str) -> Path:
    """A file, of text with lone surrogates too."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return file


def read_twice(case: Case) -> None:
    """Read data as a person does, check every sample, and read it again.

    Raises:
        XpertError: it is refused.
        BrokenLawError: a text that is empty, cannot be written or is somebody else's, or another result.
    """
    from xpert.data import read_samples

    options = dict(case.facts.get("options", {}))
    if "me" in options and "me" not in inspect.signature(read_samples).parameters:
        options.pop("me")
    found = read_samples(case.source, **options)
    if not found:
        raise BrokenLawError("accepts data without a sample", "read_samples gives nothing")
    for sample in found:
        check_texts(sample.prompt, sample.response)
        if case.facts.get("authors") and OTHERS in sample.response:
            raise BrokenLawError("takes somebody else's words for the person's own", case.how)
    if case.facts.get("unknown"):
        raise BrokenLawError("takes a file of an unknown kind for the person's text", case.how)
    said = "\n".join(sample.response for sample in found)
    if lost := [text for text in case.facts.get("own", ()) if text not in said]:
        raise BrokenLawError("loses texts of the person", f"{case.how}: {len(lost)} of {len(case.facts['own'])}")
    if read_samples(case.source, **options) != found:
        raise BrokenLawError("reads otherwise the second time", case.how)
