"""Special tokens that a model can be given: those that stand in its table of embeddings.

Knows tokenizers and configurations. Files of strangers name ids outside the table, which crash where they are used, or
words that have no row in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xpert.errors import DamagedModelError
from xpert.models.headers import strict_json

_GENERATION = "generation_config.json"
_NAMES = ("bos_token_id", "eos_token_id", "pad_token_id")


def read_config(folder: Path) -> Any:
    """The configuration of a model folder, repaired; raises whatever transformers raises."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    repair_config(config)
    return config


_OURS = {"return_dict": True, "output_hidden_states": False, "output_attentions": False}


def repair_config(config: Any) -> None:
    """Put right what a configuration says of how its model is run, before the model is built from it.

    Special tokens outside its table are forgotten. What a model returns, and the code that computes attention, are not
    its own to choose.
    """
    config._attn_implementation = None
    for part in {id(each): each for each in (config, config.get_text_config(decoder=True))}.values():
        for name, value in _OURS.items():
            setattr(part, name, value)
        size = getattr(part, "vocab_size", None)
        if not isinstance(size, int):
            continue
        for name in _NAMES:
            given = getattr(part, name, None)
            if given is None:
                continue
            kept = valid_ids(given, size)
            if name != "eos_token_id" or not isinstance(given, list):
                setattr(part, name, kept[0] if kept else None)
            else:
                setattr(part, name, kept or None)


def valid_ids(given: object, size: int) -> list[int]:
    """The ids among what a file gives that are whole numbers inside a table of `size` rows."""
    listed = given if isinstance(given, list | tuple) else [given]
    return [token for token in listed if type(token) is int and 0 <= token < size]


def fresh_generation_config(folder: Path, config: Any) -> Any:
    """Settings of `generate` that say nothing but which tokens are special; all else is the caller's to say.

    Taken from generation_config.json, else from config.json; ids outside the table are left out.

    Raises:
        DamagedModelError: generation_config.json is no JSON object.
    """
    from transformers import GenerationConfig

    file, text = folder / _GENERATION, config.get_text_config(decoder=True)
    stated = strict_json(file.read_bytes(), str(file)) if file.is_file() else {}
    kept: dict[str, Any] = {}
    rows = getattr(text, "vocab_size", None)
    size = rows if isinstance(rows, int) else 2**31
    for name in _NAMES:
        ids = valid_ids(stated.get(name), size) or valid_ids(getattr(text, name, None), size)
        ids = ids or valid_ids(getattr(config, name, None), size)
        if ids:
            kept[name] = ids if name == "eos_token_id" and len(ids) > 1 else ids[0]
    make: Any = GenerationConfig
    return make(**kept)


def fit_tokenizer(tokenizer: Any, size: int, generation_config: Any, folder: Path) -> None:
    """See that every id that a tokenizer gives is a row of a table, and that it has one to pad with.

    Added tokens beyond the table are forgotten: their text becomes ordinary tokens.

    Raises:
        DamagedModelError: words of the vocabulary itself are beyond it, or no token is left.
    """
    _forget_added(tokenizer, size, folder)
    beyond = [i for i in tokenizer.get_vocab().values() if i >= size]
    if beyond:
        raise DamagedModelError(
            f"{folder}: {len(beyond)} tokens of the tokenizer, up to {max(beyond)}, are beyond the {size} rows of the "
            "model's embedding table: give the tokenizer that belongs to it"
        )
    for kind in ("bos", "eos"):
        own, stated = _id(tokenizer, kind), valid_ids(getattr(generation_config, f"{kind}_token_id"), size)
        if own is None or not 0 <= own < size:
            _set(tokenizer, kind, stated[0] if stated else None)
    pad = next(iter(_pads(tokenizer, size)), None)
    if pad is None:
        raise DamagedModelError(f"{folder}: the embedding table has no rows: download the model again")
    if _id(tokenizer, "pad") != pad:
        _set(tokenizer, "pad", pad)
    generation_config.pad_token_id = pad


def _pads(tokenizer: Any, size: int) -> Iterator[int]:
    for kind in ("pad", "eos", "bos", "unk"):
        own = _id(tokenizer, kind)
        if own is not None and 0 <= own < size:
            yield own
    yield from range(min(size, 1))


def _id(tokenizer: Any, kind: str) -> int | None:
    found = getattr(tokenizer, f"{kind}_token_id", None)
    return found if isinstance(found, int) else None


def _set(tokenizer: Any, kind: str, token: int | None) -> None:
    text = None if token is None else tokenizer.convert_ids_to_tokens(token)
    setattr(tokenizer, f"{kind}_token", text if isinstance(text, str) else None)


def _forget_added(tokenizer: Any, size: int, folder: Path) -> None:
    """Take added tokens beyond the table out of a fast tokenizer."""
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "_tokenizer", None)
    if not isinstance(backend, Tokenizer) or not any(i >= size for i in backend.get_added_tokens_decoder()):
        return
    whole = json.loads(backend.to_str())
    gone = {token["content"] for token in whole["added_tokens"] if token["id"] >= size}
    whole["added_tokens"] = [token for token in whole["added_tokens"] if token["id"] < size]
    try:
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(whole))
    except Exception as error:  # this library raises plain Exception
        raise DamagedModelError(
            f"{folder}: the tokenizer has tokens beyond the {size} rows of the model's embedding table, and cannot do "
            "without: give the tokenizer that belongs to it"
        ) from error
    # A special token without an id asks for the unknown token's, which asks for its own when it is gone itself.
    for name, token in list(tokenizer.special_tokens_map.items()):
        if isinstance(token, str) and token in gone:
            setattr(tokenizer, name, None)
