"""Which model: a name or folder, its revision and adapter, and the digest of its content.

Knows files only; never loads weights.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from xpert.embedded import EMBEDDED_MODELS, EMBEDDED_PIPELINES
from xpert.errors import DamagedModelError, MissingModelError
from xpert.models.gguf_cache import gguf_folder, source_name
from xpert.models.model_stores import hub_name, is_stored_name
from xpert.printing import printable

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "config.json")
_CACHED = re.compile(r"models--(?:(.+?)--)?(.+)")
"""How the hub's cache calls the folder of a model: models--org--name."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt")

_SHAPING = frozenset("bos_token eos_token add_bos_token add_eos_token add_prefix_space do_lower_case legacy".split())
"""Settings of tokenizer_config.json that change the tokens of a chat."""

_OWN_CHAT = {
    "chat_template": (
        "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    ),
    "bos_token": "<|bos|>",
    "eos_token": "<|end|>",
}
"""Those of the models that come with the package."""


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A model by hub name or folder, with an optional adapter folder and hub revision.

    The model is a causal LM or, for pictures, a diffusers pipeline; a pipeline's adapter is a folder with LoRA weights
    or with a whole U-Net.
    """

    model: str
    adapter: str | None = None
    revision: str | None = None


def public_name(model: str) -> str | None:
    """What a card may call a model: a hub name, or one of a store. None for a path, since paths name their owners."""
    named = model in EMBEDDED_MODELS or is_stored_name(model)
    return None if not named and (_is_path(model) or Path(model).exists()) else model


def _is_path(name: str) -> bool:
    """Whether a name is written as a place, wherever it may lie: hub names have one slash at most."""
    return Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or "\\" in name


def shared_name(model: str | Path) -> str:
    """What files that others may see call a model: its hub name or that of a store, or a path's last part.

    A folder of the package has the package's name, and one in the hub's cache the name that it was fetched by; one of
    a GGUF file the name that the file was given by.
    """
    if str(model) in EMBEDDED_MODELS or str(model) in EMBEDDED_PIPELINES or is_stored_name(str(model)):
        return str(model)
    folder = Path(model).expanduser()
    if folder.is_file():
        return folder.name
    if not folder.is_dir():
        return re.split(r"[/\\]", str(model).rstrip("/\\"))[-1] if _is_path(str(model)) else str(model)
    folder = folder.resolve()
    for name, own in {**EMBEDDED_MODELS, **EMBEDDED_PIPELINES}.items():
        if own.resolve() == folder:
            return name
    if (given := source_name(folder)) is not None:
        return given
    cached = _CACHED.fullmatch(folder.parent.parent.name) if folder.parent.name == "snapshots" else None
    return folder.name if cached is None else "/".join(part for part in cached.groups() if part)


def is_local_model(name: str) -> bool:
    """Whether a stranger's name is a model folder on this machine; looking connects to no other machine."""
    if not name or "\0" in name or name.startswith(("//", "\\\\", "/net/")):
        return False
    try:
        folder = Path(name).expanduser()
        return folder.is_dir() and (folder / "config.json").is_file()
    except (OSError, ValueError, RuntimeError):
        return False


def file_digest(path: Path) -> str:
    """SHA-256 of one file, in hexadecimal; read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def combined_digest(files: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over "name NUL sha256-of-content newline" of each (name, sha256 of its content), in the given order."""
    whole = hashlib.sha256()
    for name, digest in files:
        whole.update(f"{name}\0{digest}\n".encode())
    return whole.hexdigest()


@lru_cache(maxsize=64)
def _digest(folder: Path, patterns: tuple[str, ...], stamp: tuple[tuple[str, int, int], ...]) -> str:
    return combined_digest((name, file_digest(folder / name)) for name, _, _ in stamp)


def folder_digest(folder: Path, patterns: tuple[str, ...], without: tuple[str, ...] = ()) -> str:
    """SHA-256 over the names and contents of the files of `folder` that match, sorted by name.

    Files whose name holds one of `without` are left out.

    Remembered within the process by size and time, so that asking twice reads once.
    """
    found = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    files = sorted(file for file in found if not any(part in file.name for part in without))
    stamp = tuple((f.relative_to(folder).as_posix(), f.stat().st_size, f.stat().st_mtime_ns) for f in files)
    return _digest(folder.resolve(), patterns, stamp)


def resolve_folder(model: str, revision: str | None = None) -> Path:
    """The local folder of a model: the folder itself, or the hub's snapshot in the local cache.

    A GGUF file, by its path, its folder's or its name in a store, is dequantised into XPerT's cache the first time.

    Raises:
        MissingModelError: no such folder, or the hub has no such name or cannot be reached.
        SettingsError: a folder of several GGUF files, or a name that no store has.
        DamagedModelError, ModelError, StorageError: a GGUF file cannot be read, or not be kept.
    """
    folder = EMBEDDED_MODELS.get(model, Path(model).expanduser())
    try:
        there = folder.is_dir()
        if model not in EMBEDDED_MODELS and (found := gguf_folder(model, folder, shared_name(model))) is not None:
            return found
    except OSError as error:  # a name that no file system takes
        raise MissingModelError(
            f"no model folder {printable(model, 100)!r} ({error.strerror}): check the path, or give a folder"
        ) from error
    if there:
        if not (folder / "config.json").is_file():
            raise MissingModelError(
                f"{folder} holds no config.json: it is not a model folder; give the folder that `save_pretrained` "
                "wrote, or one with a GGUF file"
            )
        return folder.resolve()
    if folder.is_file():
        raise MissingModelError(f"{folder} is no GGUF file and no folder: give a model folder or a GGUF file")
    if model in EMBEDDED_MODELS:
        raise MissingModelError(f"{model} comes with the package, but {folder} is not there: install xpert again")
    if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise MissingModelError(
            f"no model folder {folder}: check the path, or give a Hugging Face name such as Qwen/Qwen3-0.6B"
        )
    wanted = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]
    with hub_name(model) as on_hub:
        folder = hub_snapshot(on_hub, revision, wanted, _whole)
    if not (folder / "config.json").is_file():
        raise MissingModelError(
            f"what the hub gave of {model!r} holds no config.json ({folder}): check the name, or the network and "
            "HF_HUB_OFFLINE where another program fetched parts of it"
        )
    return folder


def _whole(folder: Path) -> bool:
    return (folder / "config.json").is_file() and has_weights(folder)


def has_weights(folder: Path, without: tuple[str, ...] = ()) -> bool:
    """Whether a folder holds weights in safetensors, and every file of them that an index of shards names.

    Files whose name holds one of `without` do not count.
    """
    files = [file for file in folder.glob("*.safetensors") if not any(part in file.name for part in without)]
    for index in folder.glob("*.safetensors.index.json"):
        if any(part in index.name for part in without):
            continue
        try:
            shards = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        if not all(isinstance(shard, str) and (folder / shard).is_file() for shard in shards):
            return False
    return bool(files)


def hub_snapshot(
    model: str,
    revision: str | None,
    wanted: list[str],
    is_whole: Callable[[Path], bool],
    unwanted: list[str] | None = None,
) -> Path:
    """The snapshot of a hub name in the local cache, downloaded where it is not there yet, or not whole.

    Args:
        model: hub name.
        revision: of it.
        wanted: patterns of the files that are needed.
        is_whole: whether a snapshot holds what is needed; the caller finds out what a downloaded one lacks.
        unwanted: patterns of files that are left out.

    Raises:
        MissingModelError: the hub has no such name or cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    chosen: dict[str, Any] = {"revision": revision, "allow_patterns": wanted, "ignore_patterns": unwanted}
    try:
        try:
            here = Path(snapshot_download(model, local_files_only=True, **chosen))
            if is_whole(here):
                return here
        except LocalEntryNotFoundError:
            pass
        return Path(snapshot_download(model, **chosen))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise MissingModelError(
            f"model {model!r} is neither a folder here nor in the local Hugging Face cache, and the hub did not "
            f"give it ({type(error).__name__}): check the name, the network or HF_HUB_OFFLINE, or give a folder"
        ) from error


def model_digest(folder: Path) -> str:
    """SHA-256 over weights and configuration of a model folder.

    Raises:
        MissingModelError: the folder holds no safetensors file.
    """
    if not any(folder.glob("*.safetensors")):
        raise MissingModelError(
            f"{folder} holds no .safetensors file: convert the model with `save_pretrained` "
            "(pickled weights are refused)"
        )
    return folder_digest(folder, _WEIGHTS)


def tokenizer_digest(folder: Path) -> str:
    """SHA-256 over what makes tokens of a text: the vocabulary files of a model folder, and its chat template.

    XPerT's own template, and a folder without one, add nothing: digests from before templates counted stay.

    Raises:
        DamagedModelError: a file cannot be read.
    """
    tokenizer, chat = folder / "tokenizer.json", _chat_settings(folder)
    if tokenizer.is_file():
        kept = {k: v for k, v in _json_object(tokenizer).items() if k not in ("padding", "truncation")}
        words = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    else:
        words = folder_digest(folder, TOKENIZER_FILES)
    if chat is None or chat == _OWN_CHAT:
        return words
    return hashlib.sha256(f"{words}\0{json.dumps(chat, sort_keys=True)}".encode()).hexdigest()


def _chat_settings(folder: Path) -> dict[str, Any] | None:
    """The chat template of a folder and what shapes its tokens besides; None without a template."""
    file, template = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    stated = _json_object(file) if file.is_file() else {}
    try:
        text: Any = template.read_text("utf-8") if template.is_file() else stated.get("chat_template")
    except (OSError, ValueError) as error:
        raise DamagedModelError(f"{template} cannot be read: download or save the model again") from error
    if text is None:
        return None
    return {"chat_template": text, **{key: value for key, value in stated.items() if key in _SHAPING}}


def _json_object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedModelError(f"{file} cannot be read ({error}): download or save the model again") from error
    if not isinstance(found, dict):
        raise DamagedModelError(f"{file} holds no JSON object: download or save the model again")
    return found
