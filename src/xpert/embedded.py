"""Where the models, the pool and the sample people of the package lie, and XPerT's own cache. Knows paths only."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import TypedDict

ASSETS = Path(str(files("xpert"))) / "assets"
# Names that are understood wherever a model's name or folder is.
EMBEDDED_MODELS = {"xpert/base": ASSETS / "base", "xpert/summarizer": ASSETS / "summarizer"}
EMBEDDED_PIPELINES = {"xpert/diffusion": ASSETS / "diffusion"}
EMBEDDED_CLIPS = {"xpert/clip": ASSETS / "clip"}
EMBEDDED_POOL = ASSETS / "pool"
EMBEDDED_IMAGE_POOL = ASSETS / "image-pool"
PEOPLE = ASSETS / "people"
PICTURE_PEOPLE = ASSETS / "picture-people"


class Person(TypedDict):
    """A sample person: one line about them, and the pLLM that fits (None: nothing does)."""

    title: str
    expected: str | None


def people() -> dict[str, Person]:
    """The sample people, by name; their messages lie at `PEOPLE / f"{name}.jsonl"`."""
    loaded: dict[str, Person] = json.loads((PEOPLE / "people.json").read_text("utf-8"))
    return loaded


def cache_folder() -> Path:
    """Where XPerT keeps what it made and may make again: $XPERT_CACHE, by default ~/.cache/xpert."""
    return Path(os.environ.get("XPERT_CACHE") or Path.home() / ".cache" / "xpert")
