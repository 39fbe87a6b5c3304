"""What is published of an adapter, and whether it fits its base; the same for language models and pipelines.

Knows files; never sees catalogs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xpert.errors import MismatchError
from xpert.models.adapters import ADAPTER_FILES, AdapterFacts, check_fit, inspect_adapter
from xpert.models.cards import CARD
from xpert.models.image_adapters import ImageAdapterFacts, check_image_fit, inspect_image_adapter, is_image_adapter
from xpert.models.pipelines import is_pipeline, pipeline_digest
from xpert.models.reference import model_digest


@dataclass(frozen=True, slots=True)
class Checked:
    """An adapter of a language model or of a pipeline, as its files say."""

    folder: Path
    files: tuple[str, ...]
    digest: str
    base: str
    rank: int
    target_modules: tuple[str, ...]
    size_bytes: int
    card: Path | None


def check_adapter(adapter_folder: Path, base_folder: Path) -> Checked:
    """What an adapter is, seen to fit its base.

    Raises:
        MissingModelError, DamagedModelError: it cannot be read.
        MismatchError: it does not belong to the base.
    """
    if is_pipeline(base_folder):
        image = inspect_image_adapter(adapter_folder)
        check_image_fit(image, base_folder)
        return _of_pipeline(image, pipeline_digest(base_folder))
    facts = inspect_adapter(adapter_folder)
    check_fit(facts, base_folder)
    return _of_language_model(facts, model_digest(base_folder))


def describe_adapter(adapter_folder: Path, base: str) -> Checked:
    """What an adapter is, without its base at hand.

    Args:
        adapter_folder: of either kind.
        base: digest of the base that it should belong to.

    Raises:
        MissingModelError, DamagedModelError: it cannot be read.
        MismatchError: its card states another base.
    """
    if is_image_adapter(adapter_folder):
        image = inspect_image_adapter(adapter_folder)
        stated, checked = image.base_digest, _of_pipeline(image, base)
    else:
        facts = inspect_adapter(adapter_folder)
        stated, checked = facts.base_digest, _of_language_model(facts, base)
    if stated is not None and stated != base:
        raise MismatchError(f"its card states base {stated[:12]}…, the pool is for base {base[:12]}…")
    return checked


def _of_pipeline(facts: ImageAdapterFacts, base: str) -> Checked:
    return Checked(
        facts.folder,
        facts.files,
        facts.digest,
        base,
        facts.rank,
        facts.target_modules,
        facts.size_bytes,
        facts.card,
    )


def _of_language_model(facts: AdapterFacts, base: str) -> Checked:
    return Checked(
        facts.folder,
        ADAPTER_FILES,
        facts.digest,
        base,
        facts.rank,
        facts.target_modules,
        facts.size_bytes,
        card if (card := facts.folder / CARD).is_file() else None,
    )


@contextmanager
def with_card(facts: Checked) -> Iterator[tuple[Path, list[str]]]:
    """One folder with everything that is published, and its names; where the card lies elsewhere, made of links."""
    names = list(facts.files)
    if facts.card is None:
        yield facts.folder, names
    elif facts.card.parent == facts.folder:
        yield facts.folder, [*names, CARD]
    else:
        with tempfile.TemporaryDirectory(prefix="xpert-publishing-") as place:
            for file in (*(facts.folder / name for name in names), facts.card):
                try:
                    os.symlink(file.resolve(), Path(place) / file.name)
                except OSError:  # Windows lets only some people link
                    shutil.copyfile(file, Path(place) / file.name)
            yield Path(place), [*names, CARD]
