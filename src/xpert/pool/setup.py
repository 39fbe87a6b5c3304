"""What the explanations of a pool were made with: names of base and summarizer, how prompts are answered or painted.

A small JSON file beside the basis of the space, so that whoever opens the pool explains in the same way. It has a seal
(see `xpert.sealing`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from xpert.errors import PoolError
from xpert.records import Record
from xpert.sealing import KEY, OPEN, is_whole, seal
from xpert.writing import whole_file

SETUP_FILE = "setup.json"
SPACE_FILE = "space.safetensors"
SPACE_FILES = (SETUP_FILE, SPACE_FILE)
"""What the artifact of a space holds."""


class PictureSetup(Record):
    """How a pool of image models explains.

    Attributes:
        captions: what base and personalized pipelines paint.
        vocabulary: words that are proposed; empty: those of the CLIP's folder, else the package's.
        vision: name or folder of a vision-language model that proposes words instead; None: the vocabulary.
        steps, guidance_scale, resolution: how captions are painted.
    """

    captions: tuple[str, ...] = Field(min_length=1)
    vocabulary: tuple[str, ...] = ()
    vision: str | None = None
    steps: int = Field(default=50, ge=1)
    guidance_scale: float = Field(default=7.5, ge=0)
    resolution: int | None = Field(default=None, ge=8)


class PoolSetup(Record):
    """How to explain for a pool.

    Attributes:
        base: name or folder of the base model.
        base_revision: hub revision of it, or None.
        summarizer_kind: "language" for a causal LM, "encoder" for a sentence encoder, "clip" for pictures.
        summarizer: name or folder; for an encoder, "packaged" is the MiniLM of the extra.
        rewriter: who restyles texts for exact sub-vectors: the summarizer, or the base under a style turn.
        contrasts: for the rewriter "base": word -> pairs of styles that differ in that word only.
        exact_words: how many words get exact sub-vectors.
        max_new_tokens, temperature, top_p, seed, draws: how prompts are answered.
        fast_path_cosine: mean cosine of fast and exact sub-vectors on left-out words, as measured at building.
        pictures: how image models are explained; None: this is a pool of language models.
    """

    base: str
    base_revision: str | None = None
    summarizer_kind: Literal["language", "encoder", "clip"] = "language"
    summarizer: str
    rewriter: Literal["summarizer", "base"] = "summarizer"
    contrasts: dict[str, tuple[tuple[str, str], ...]] = Field(default_factory=dict)
    exact_words: int = Field(default=6, ge=0)
    max_new_tokens: int = Field(default=192, ge=1)
    temperature: float = Field(default=0.8, ge=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    seed: int = 0
    draws: int = Field(default=1, ge=1)
    fast_path_cosine: float | None = None
    pictures: PictureSetup | None = None


def read_setup(folder: Path) -> PoolSetup:
    """The setup that lies in the folder of a space.

    Raises:
        PoolError: it has none, or it cannot be read.
    """
    file = folder / SETUP_FILE
    try:
        whole, told = is_whole(file), json.loads(file.read_text("utf-8"))
        if isinstance(told, dict):
            told.pop(KEY, None)
        setup = PoolSetup.model_validate_json(json.dumps(told))
    except FileNotFoundError as error:
        raise PoolError(f"{folder} holds no {SETUP_FILE}: build the space with `xpert pool reindex`") from error
    except UnicodeDecodeError as error:
        raise PoolError(
            f"{file} cannot be read (it is not UTF-8): rebuild it with `xpert pool reindex` once it is deleted"
        ) from error
    except OSError as error:
        raise PoolError(f"{file} cannot be read ({error.strerror or error}): check path and rights") from error
    except (ValidationError, ValueError, RecursionError) as error:
        faults = error.error_count() if isinstance(error, ValidationError) else 1
        raise PoolError(
            f"{file} cannot be read ({faults} faults): rebuild it with `xpert pool reindex` once it is deleted"
        ) from error
    if not whole:
        raise PoolError(
            f"{file} is another file than was written: restore it from a copy, or take its line {KEY!r} away if you "
            "changed it yourself"
        )
    return setup


def write_setup(folder: Path, setup: PoolSetup) -> None:
    """Write atomically: a reader sees the old file or the new one.

    Raises:
        StorageError: the disk refused; the old file stays.
    """
    with whole_file(folder / SETUP_FILE) as fresh:
        told = setup.model_dump(mode="json") | {KEY: OPEN}
        fresh.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        seal(fresh)


def is_space(folder: Path) -> bool:
    """Whether an artifact is a space, and no adapter."""
    return any((folder / name).is_file() for name in SPACE_FILES)
