"""GGUF files as plain model folders: dequantised once, and kept in XPerT's cache under the SHA-256 of the file.

Knows files; what is in them is `gguf_reading`'s. Two processes that want the same file do it once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from xpert.embedded import cache_folder
from xpert.errors import DamagedModelError, MissingModelError, ModelError, StorageError
from xpert.models.folders import whole_folder
from xpert.models.gguf_header import GgufFacts, is_gguf, read_gguf_header
from xpert.models.model_stores import SMOLLM2, is_stored_name, only_gguf, stored_model
from xpert.models.preparing import report
from xpert.printing import printable
from xpert.writing import disk_refusals, private_folder, sweep

SOURCE = "gguf_source.json"
_WAY = 1  # counts up when what is written of the same file changes
_PIECE = 4 * 2**20
_SPARE_BYTES = 200 * 2**20
_TEXT_CAP = 2**16


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A folder of the cache: the name that its file was given by, what it is, and bytes on the disk."""

    name: str
    folder: Path
    quantisation: str
    sha256: str
    size_bytes: int


def gguf_cache() -> Path:
    """Where the folders lie, in XPerT's cache."""
    return cache_folder() / "gguf"


def gguf_folder(model: str, path: Path, called: str) -> Path | None:
    """The folder of a model that is a GGUF file, lies alone in a folder, or is named by a store; None for any other.

    Args:
        model: as it was named.
        path: the same as a path.
        called: what others may see it called.

    Raises:
        SettingsError: a folder of several, or a name that no store has.
        MissingModelError, DamagedModelError, ModelError, StorageError: as `dequantised`.
    """
    if is_stored_name(model) and (model == SMOLLM2 or not path.is_dir()):
        if (stored := stored_model(model)) is None or stored.path.is_dir():
            return None if stored is None else stored.path
        return dequantised(stored.path, model, stored.sha256)
    if path.is_dir():
        file = None if any(path.glob("*.safetensors")) else only_gguf(path)
    else:
        file = path if is_gguf(path) or (path.suffix.lower() == ".gguf" and path.exists()) else None
    return None if file is None else dequantised(file, called)


def dequantised(file: Path, name: str, stated: str | None = None) -> Path:
    """The folder of a GGUF file, made where it is not there yet.

    Args:
        file: a regular file.
        name: what others may see it called.
        stated: its SHA-256 as the store says that it lies in.

    Raises:
        MissingModelError: the file cannot be read, or a package is not installed.
        DamagedModelError: the file is damaged, or another than its store says.
        ModelError: a kind of model that is not read from GGUF files here, or too large for this machine's memory.
        StorageError: too little space, or the disk refused.
    """
    facts = read_gguf_header(file)
    digest = _sha256(file)
    if stated is not None and digest != stated:
        raise DamagedModelError(
            f"{file} has SHA-256 {digest[:12]}…, its store says {stated[:12]}…: it is damaged; fetch it again"
        )
    place = gguf_cache() / f"{digest}-{_WAY}"
    if (place / SOURCE).is_file():
        return place.resolve()
    from filelock import FileLock

    private_folder(gguf_cache())
    with disk_refusals(place), FileLock(gguf_cache() / f"{digest}.lock"):
        sweep(gguf_cache())
        if not (place / SOURCE).is_file():  # else another process was waited for
            _make(facts, digest, name, place)
    return place.resolve()


def _make(facts: GgufFacts, digest: str, name: str, place: Path) -> None:
    from xpert.models.gguf_known import check_known
    from xpert.models.gguf_reading import write_plain

    check_known(facts)
    _check_room(facts, place.parent)
    before = facts.path.stat()
    if place.is_dir():
        shutil.rmtree(place)  # not one of ours: it would have its source in it
    with whole_folder(place) as fresh:
        write_plain(facts, fresh)
        after = facts.path.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise DamagedModelError(f"{facts.path} changed while it was read: try again")
        said = {"name": name, "sha256": digest, "quantisation": facts.quantisation, "architecture": facts.architecture}
        (fresh / SOURCE).write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _check_room(facts: GgufFacts, cache: Path) -> None:
    """Refuse what the disk or the memory cannot take, before the work."""
    wanted = 4 * facts.numbers + _SPARE_BYTES
    free = shutil.disk_usage(cache).free
    if wanted > free:
        raise StorageError(
            f"{facts.path} takes up to {_gb(wanted)} when it is dequantised, and the disk of {cache} has {_gb(free)} "
            "free: make room, or set XPERT_CACHE to a folder on another disk"
        )
    memory = _free_memory()
    if memory is not None and wanted > memory:
        raise ModelError(
            f"{facts.path} takes {_gb(wanted)} of memory while it is dequantised, and {_gb(memory)} are free here: "
            "close other programs, or give a smaller model"
        )


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _free_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration, IndexError):
        return None


def _sha256(file: Path) -> str:
    stat = file.stat()
    return _digest_of(file.resolve(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest_of(file: Path, size: int, _time: int) -> str:
    """SHA-256 of a file, remembered within the process by size and time."""
    found, done = hashlib.sha256(), 0
    try:
        with file.open("rb") as stream:
            while piece := stream.read(_PIECE):
                found.update(piece)
                done += len(piece)
                report("checking the model file (MB)", done // 10**6, max(size, done) // 10**6)
    except OSError as error:
        raise MissingModelError(f"{file} cannot be read ({error.strerror or error}): check path and rights") from error
    return found.hexdigest()


def source_name(folder: Path) -> str | None:
    """What a folder of the cache is called before others: the name that its file was given by; None for others."""
    return _said(folder).get("name") if folder.resolve().parent == gguf_cache().resolve() else None


def cached_models() -> list[CachedModel]:
    """What lies in the cache, the largest first."""
    found = []
    for folder in gguf_cache().glob("*"):
        said = _said(folder)
        if {"name", "sha256", "quantisation"} <= said.keys():
            size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
            found.append(CachedModel(said["name"], folder, said["quantisation"], said["sha256"], size))
    return sorted(found, key=lambda model: -model.size_bytes)


def _said(folder: Path) -> dict[str, str]:
    try:
        with (folder / SOURCE).open("rb") as stream:
            said = json.loads(stream.read(_TEXT_CAP))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    return {key: printable(value) for key, value in said.items() if isinstance(value, str)}
