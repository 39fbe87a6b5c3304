"""Whether the sizes in a model's configuration can be true of the tensors beside it, before anything is built of them.

Knows JSON and headers of safetensors files; builds nothing and reads no weights. A configuration may come from a
stranger: a million layers, or a negative width, end here within a moment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpert.errors import DamagedModelError
from xpert.models.headers import HEADER_CAP_BYTES, strict_json
from xpert.models.lora_settings import read_capped
from xpert.printing import printable

MOST_LAYERS = 1024
"""More blocks than any model has: the largest have some hundreds."""

_COUNTS = re.compile(
    r"(num|n)_(hidden_|decoder_|encoder_)?(layers?|blocks)|(encoder|decoder)_layers"
    r"|(transformer_|reverse_transformer_)?layers_per_block|depth|depths"
)
"""Settings that say how often something is repeated, each with tensors of its own."""

_MOST_EXPERTS = 2**16
_EXPERTS = re.compile(r"(num|n)_(local_|routed_|shared_)?experts")
"""Each has numbers of its own, but many families keep those of all experts in one tensor."""

_WIDTHS = re.compile(
    r"(\w+_)?hidden_size|hidden_sizes|d_model|d_ff|d_kv|d_state|state_size|conv_kernel|n_embd|n_inner|dim|\w+_dim"
    r"|ffn_dim|vocab_size|(\w+_)?intermediate_size|(num|n)_(attention_|key_value_|kv_)?heads?|n_head_kv|head_dim"
    r"|block_out_channels|(in|out|latent)_channels|cross_attention_dim|attention_head_dim|projection_dim"
)
"""Settings that are the length of an axis of some tensor."""

_MOST_POSITIONS = 2**31
_POSITIONS = re.compile(r"(max_position_embeddings|n_positions|max_seq_len|seq_length|sample_size|n_ctx)")
_MOST_LABELS = 2**16
_LABELS = re.compile(r"num_labels")
"""A configuration makes a name for each label when it is read, whatever tensors there are."""

_ELSEWHERE = ("quantization_config", "rope_parameters", "rope_scaling")
"""Nested settings without sizes: the `mscale_all_dim` of a rope is a factor."""

_MOST_TABLES = 2**24
_KINDS = (_COUNTS, _EXPERTS, _WIDTHS, _POSITIONS, _LABELS)
_NUMBERS_A_BYTE = 4  # two bits each is the least that anybody stores


@dataclass(frozen=True, slots=True)
class StoredNumbers:
    """What the headers of a folder's files say: tensors, numbers as they are counted by shape, and bytes."""

    tensors: int
    numbers: int
    size_bytes: int

    def most(self, quantized: bool) -> int:
        """Numbers that a model may have whose files these are; packed ones take several to a stored one."""
        return self.size_bytes * _NUMBERS_A_BYTE if quantized else self.numbers


def check_sizes(
    folder: Path, config: Mapping[str, Any] | None = None, stored: StoredNumbers | None = None
) -> StoredNumbers | None:
    """Refuse a configuration whose sizes cannot be those of the tensors in the same folder.

    Args:
        folder: holds config.json and safetensors files.
        config: the content of config.json; None: it is read.
        stored: what the tensors hold, of a model in another form; None: the files of the folder say.

    Returns:
        What the files hold; None where there are none; other checks say so.

    Raises:
        DamagedModelError: a size that is no whole number >= 0, or larger than the tensors allow.
        OSError: the configuration cannot be read.
    """
    file = folder / "config.json" if stored is None else folder
    config = strict_json(read_capped(file), str(file)) if config is None else config
    found = stored_numbers(folder) if stored is None else stored
    for key, value in _sizes(config, ""):
        _check(file, key, value, found)
    return found


def check_total(folder: Path, wanted: int, found: StoredNumbers, quantized: bool) -> None:
    """Refuse a model of far more numbers than its files hold, before any memory is allocated.

    Args:
        folder: of the model.
        wanted: numbers that the configuration describes, tied ones once.
        found: what the files hold.
        quantized: whether they are packed.

    Raises:
        DamagedModelError: it has.
    """
    most = 2 * found.most(quantized) + 2**20
    if wanted > most:
        raise DamagedModelError(
            f"{folder}/config.json describes a model of {wanted} numbers, its files hold {found.numbers}: it belongs "
            "to another model, or files are missing; download the folder again"
        )


def check_tables(folder: Path, wanted: int, found: StoredNumbers) -> None:
    """Refuse a model that computes far larger tables for itself, such as those of positions, than its files hold.

    Args:
        folder: of the model.
        wanted: numbers of these tables.
        found: what the files hold.

    Raises:
        DamagedModelError: it does.
    """
    if wanted > 2 * found.numbers + _MOST_TABLES:
        raise DamagedModelError(
            f"{folder}/config.json describes tables of {wanted} numbers beside the weights, and the weights are "
            f"{found.numbers}: its number of positions cannot be; download the folder again"
        )


def stored_numbers(folder: Path) -> StoredNumbers | None:
    """What the headers of all safetensors files of a folder say, adapters left out; None where they do not say."""
    files = [file for file in folder.glob("*.safetensors") if not file.name.startswith("adapter")]
    tables = [_table(file) for file in files]
    if not tables or any(table is None for table in tables):
        return None
    entries = [entry for table in tables if table for name, entry in table.items() if name != "__metadata__"]
    numbers = sum(_product(entry.get("shape")) for entry in entries if isinstance(entry, dict))
    return StoredNumbers(len(entries), numbers, sum(file.stat().st_size for file in files))


def _table(file: Path) -> dict[str, Any] | None:
    """The header of one file; None where it has none; reading the weights says so."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(8 * HEADER_CAP_BYTES, file.stat().st_size - 8):
            return None
        return strict_json(stream.read(length), f"the header of {file}")


def _product(shape: object) -> int:
    sound = isinstance(shape, list) and all(type(size) is int and 0 <= size < 2**63 for size in shape)
    return math.prod(shape) if isinstance(shape, list) and sound else 0


def _sizes(config: Mapping[str, Any], lead: str, depth: int = 0) -> Iterator[tuple[str, object]]:
    """Names and values of all sizes, those of nested configurations too."""
    for key, value in config.items():
        if isinstance(value, dict) and depth < 8 and key not in _ELSEWHERE:
            yield from _sizes(value, f"{lead}{key}.", depth + 1)
        elif _switches(key, value):
            continue
        elif any(kind.fullmatch(key) for kind in _KINDS):
            for one in _flat(value):
                yield f"{lead}{key}", one


def _switches(key: str, value: object) -> bool:
    """Settings that only end like a size and say yes or no, as `block_auto_adjust_ff_dim` does."""
    return isinstance(value, bool) and any(part in key.split("_") for part in ("auto", "use", "is", "has", "adjust"))


def _flat(value: object) -> Iterator[object]:
    if isinstance(value, list):
        for one in value:
            yield from _flat(one)
    elif value is not None:
        yield value


def _check(file: Path, key: str, value: object, found: StoredNumbers | None) -> None:
    name, shown = printable(key, 100), printable(repr(value), 60)
    if type(value) is not int or value < 0:
        raise DamagedModelError(f"{file}: {name} is {shown}; it must be a whole number >= 0: download the model again")
    last = key.rsplit(".", 1)[-1]
    if _POSITIONS.fullmatch(last):
        most, why = _MOST_POSITIONS, "no model reads more"
    elif _LABELS.fullmatch(last):
        most, why = _MOST_LABELS, "no model tells more apart"
    elif _EXPERTS.fullmatch(last):
        stored = _MOST_EXPERTS if found is None else found.numbers
        most, why = min(_MOST_EXPERTS, stored), f"the files beside it hold {stored} numbers"
    elif _COUNTS.fullmatch(last):
        stored = MOST_LAYERS if found is None else found.tensors
        most, why = min(MOST_LAYERS, stored), f"the files beside it hold {stored} tensors"
    else:
        stored = 2**31 if found is None else found.most(quantized=True)
        most, why = min(2**31, stored), "no tensor of the files beside it is so long"
    if value > most:
        raise DamagedModelError(
            f"{file}: {name} is {shown}, at most {most} can be ({why}): the configuration is of another model; "
            "download the folder again"
        )
