"""A whole language model on disk: which files hold its weights, and whether it is one of a base.

Knows files, names and settings; loads no weights and never unpickles.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpert.errors import DamagedModelError, MismatchError, MissingModelError
from xpert.models.adapters import CONFIG
from xpert.models.cards import CARD, card_digest, card_facts, check_card
from xpert.models.headers import strict_json
from xpert.models.lora_settings import read_capped
from xpert.models.reference import TOKENIZER_FILES, model_digest, tokenizer_digest
from xpert.models.sizes import check_sizes

ONE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MODEL_CONFIG = "config.json"

_INDEX_CAP_BYTES = 64 * 2**20
_FREE = frozenset(
    "transformers_version dtype torch_dtype use_cache bos_token_id eos_token_id pad_token_id architectures".split()
)
"""Settings that two models of one base may have differently: how they are stored, saved and stopped."""


@dataclass(frozen=True, slots=True)
class WholeModelFacts:
    """What the files of a model say.

    Attributes:
        folder: where they lie.
        digest: SHA-256 over weights and configuration.
        weights: the files of its tensors.
        base_digest: `base_sha256` of the card, None where it has none.
    """

    folder: Path
    digest: str
    weights: tuple[Path, ...]
    base_digest: str | None


def is_whole_model(folder: Path) -> bool:
    """Whether a folder holds a model itself, and not an adapter."""
    return (folder / MODEL_CONFIG).is_file() and not (folder / CONFIG).is_file()


def inspect_whole_model(folder: Path) -> WholeModelFacts:
    """Find the weights of a model folder, and digest them.

    Raises:
        MissingModelError: no such folder, or a file of it is missing or cannot be read.
        DamagedModelError: an index that is none.
    """
    try:
        if not (folder / MODEL_CONFIG).is_file():
            raise MissingModelError(f"{folder} holds no {MODEL_CONFIG}: give the folder that `save_pretrained` wrote")
        digest = model_digest(folder)
        check_card(folder / CARD, digest)
        return WholeModelFacts(
            folder=folder,
            digest=digest,
            weights=weight_files(folder),
            base_digest=card_digest(card_facts(folder / CARD), "base_sha256"),
        )
    except OSError as error:
        raise MissingModelError(
            f"{folder} cannot be read ({error.strerror or error}): check path and rights"
        ) from error


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The one file, or the shards that the index names, as transformers looks for them.

    Raises:
        MissingModelError: there are none, or a shard is missing.
        DamagedModelError: the index is none, or names files elsewhere.
    """
    if (folder / ONE_FILE).is_file():
        return (folder / ONE_FILE,)
    index = folder / INDEX
    if not index.is_file():
        raise MissingModelError(
            f"{folder} holds neither {ONE_FILE} nor {INDEX}: save the model with `save_pretrained` (pickled weights "
            "are refused)"
        )
    if index.stat().st_size > _INDEX_CAP_BYTES:
        raise DamagedModelError(f"{index} is larger than {_INDEX_CAP_BYTES} bytes: an index has a few thousand lines")
    where = strict_json(index.read_bytes(), str(index)).get("weight_map")
    names = sorted(set(map(str, where.values()))) if isinstance(where, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise DamagedModelError(f"{index} has no weight_map from tensors to files beside it: save the model again")
    for name in names:
        if not (folder / name).is_file():
            raise MissingModelError(f"{folder} holds no {name}, which its index names: download it again")
    return tuple(folder / name for name in names)


def check_whole_fit(facts: WholeModelFacts, base_folder: Path) -> None:
    """Refuse a model that is not one of a base: other digests on its card, another configuration or tokenizer.

    A model that was saved without its tokenizer has the base's. Tensors are compared by whoever reads them.

    Raises:
        MismatchError: the text names what differs.
        DamagedModelError: a configuration cannot be read.
    """
    folder, base = facts.folder, model_digest(base_folder)
    if facts.base_digest is not None and facts.base_digest != base:
        raise MismatchError(
            f"model {folder} was made from base {facts.base_digest[:12]}…, but {base_folder} is {base[:12]}…: give "
            "the base that it was made from"
        )
    own, theirs = _settings(folder), _settings(base_folder)
    for key in sorted(own.keys() | theirs.keys()):
        if own.get(key) != theirs.get(key):
            raise MismatchError(
                f"model {folder} has {key} {str(own.get(key))[:60]} in its {MODEL_CONFIG}, base {base_folder} has "
                f"{str(theirs.get(key))[:60]}: give models that were tuned from one base"
            )
    if any((folder / name).is_file() for name in TOKENIZER_FILES):
        ours, wanted = tokenizer_digest(folder), tokenizer_digest(base_folder)
        if ours != wanted:
            raise MismatchError(
                f"model {folder} has tokenizer {ours[:12]}…, base {base_folder} has {wanted[:12]}…: the same text "
                "would become other tokens; give models with the base's tokenizer"
            )


def _settings(folder: Path) -> dict[str, Any]:
    """What a configuration sets, as transformers reads it: defaults filled in, without what is free."""
    from transformers import AutoConfig

    file = folder / MODEL_CONFIG
    check_sizes(folder, strict_json(read_capped(file), str(file)))
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # each class of configuration breaks in its own way
        raise DamagedModelError(
            f"{file} cannot be read ({type(error).__name__}: {error}): give the folder of a causal language model "
            "that transformers knows"
        ) from error
    return _bound(config.to_dict())


def _bound(settings: dict[Any, Any]) -> dict[str, Any]:
    return {
        str(key): _bound(value) if isinstance(value, dict) else value
        for key, value in settings.items()
        if key not in _FREE and not str(key).startswith("_")
    }
