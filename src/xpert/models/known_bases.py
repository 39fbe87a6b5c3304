"""Which bases this person has used, by digest: so that an adapter finds its base again without naming a path.

A small private file in XPerT's own cache. Adapters hold no path, since paths name their owners; their cards hold the
digest of the base. What a stranger's adapter says never gets in here: only a base that was used to write something.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from xpert.embedded import EMBEDDED_MODELS, EMBEDDED_PIPELINES, cache_folder
from xpert.errors import XpertError
from xpert.models.gguf_cache import source_name
from xpert.models.model_stores import is_stored_name
from xpert.models.pipelines import is_pipeline, pipeline_digest
from xpert.models.reference import ModelReference, model_digest, resolve_folder
from xpert.writing import whole_file

_FILE = "bases.json"
_MOST = 500
_CAP_BYTES = 2**20


def bases_file() -> Path:
    """The file, in XPerT's cache."""
    return cache_folder() / _FILE


def remember_base(reference: ModelReference, digest: str) -> None:
    """Keep which base has this digest; where the disk refuses, it is asked for again, and nothing else is lost."""
    if reference.model in EMBEDDED_MODELS or reference.model in EMBEDDED_PIPELINES:
        return
    folder = Path(reference.model).expanduser()
    named = is_stored_name(reference.model) or not folder.exists()
    if source_name(folder) is not None:  # by its folder of the cache: the cache may go
        return
    place = reference.model if named else str(folder.resolve())
    known = _read()
    if known.get(digest) == (entry := [place, reference.revision]):
        return
    known.pop(digest, None)
    known[digest] = entry
    with suppress(OSError, XpertError), whole_file(bases_file(), private=True) as fresh:
        fresh.write_text(json.dumps(dict(list(known.items())[-_MOST:]), indent=0) + "\n", encoding="utf-8")


def known_base(digest: str | None) -> ModelReference | None:
    """A base of this digest: one of the package, or one that was used here and is still the same; None: none is known.

    A hub name that was used is returned as it was used; nothing is asked of the hub here.
    """
    if digest is None:
        return None
    for name, folder in {**EMBEDDED_MODELS, **EMBEDDED_PIPELINES}.items():
        if folder.is_dir() and _digest(folder) == digest:
            return ModelReference(name)
    model, revision = _read().get(digest, [None, None])
    if model is None:
        return None
    if Path(model).is_absolute():
        return ModelReference(model) if _digest(Path(model)) == digest else None
    return ModelReference(model, revision=revision)


def _digest(folder: Path) -> str | None:
    """Digest of a model or pipeline folder, or of a GGUF file's; None where there is none any more."""
    try:
        return pipeline_digest(folder) if is_pipeline(folder) else model_digest(resolve_folder(str(folder)))
    except (OSError, XpertError):
        return None


def _read() -> dict[str, list[str | None]]:
    """Digest -> model and revision; what cannot be read counts for nothing."""
    try:
        with bases_file().open("rb") as stream:
            raw = stream.read(_CAP_BYTES)
        found = json.loads(raw)
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(key): value for key, value in found.items() if _is_entry(value)}


def _is_entry(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    return isinstance(value[0], str) and (value[1] is None or isinstance(value[1], str))
