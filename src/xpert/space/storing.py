"""A space as one safetensors file: arrays as tensors, the rest as its metadata, with a seal (see `xpert.sealing`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from xpert.errors import SpaceError
from xpert.sealing import KEY, OPEN, is_whole, seal
from xpert.space.basis import Space
from xpert.writing import whole_file

_FORMAT = "xpert-space-1"
_FACTS = {"format", "words", "scale", "summarizer", "base", "prompts", "e_ortho", "e_decomp", KEY}


def save_space(space: Space, file: Path) -> None:
    """Write atomically: a reader sees the old file or the new one.

    Raises:
        StorageError: the disk refused; the old file stays.
    """
    facts = {
        "format": _FORMAT,
        "words": json.dumps(space.words, ensure_ascii=False),
        "scale": repr(space.scale),
        "summarizer": space.summarizer,
        "base": space.base,
        "prompts": space.prompts,
        "e_ortho": repr(space.e_ortho),
        "e_decomp": repr(space.e_decomp),
        KEY: OPEN,
    }
    arrays = {"vectors": space.vectors, "origin": space.origin, "null": space.null}
    if space.axes is not None:
        arrays["axes"] = space.axes
    payload = save({name: np.ascontiguousarray(array, dtype=np.float64) for name, array in arrays.items()}, facts)
    with whole_file(file) as fresh:
        fresh.write_bytes(payload)
        seal(fresh)


def load_space(file: Path) -> Space:
    """Read a space back, equal to the last bit.

    Raises:
        SpaceError: no such file, or it is no space, or a byte of it changed.
    """
    try:
        if not is_whole(file):
            raise ValueError("a byte of it changed since it was written")
        with safe_open(str(file), framework="numpy") as opened:
            facts = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in ("vectors", "origin", "null")}
            arrays["axes"] = opened.get_tensor("axes") if "axes" in opened.keys() else None  # noqa: SIM118
        if facts.keys() - _FACTS:
            raise ValueError("its header was changed")
        if facts["format"] != _FORMAT:
            raise SpaceError(f"{file} has format {facts['format']!r}, this version reads {_FORMAT!r}: rebuild it")
        return Space(
            words=tuple(json.loads(facts["words"])),
            scale=float(facts["scale"]),
            summarizer=facts["summarizer"],
            base=facts["base"],
            prompts=facts["prompts"],
            e_ortho=float(facts["e_ortho"]),
            e_decomp=float(facts["e_decomp"]),
            **arrays,
        )
    except FileNotFoundError as error:
        raise SpaceError(f"no space at {file}: build one with `xpert pool reindex`") from error
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise SpaceError(f"{file} is not a space ({error}): rebuild it with `xpert pool reindex`") from error
