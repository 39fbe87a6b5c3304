"""What the folder of a base may hold: one set of plain weights, and no adapter beside them.

Knows files and names; loads no weights. A library that finds more in a folder takes part of it, or all, without a word.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from xpert.errors import DamagedModelError
from xpert.models.headers import strict_json
from xpert.models.lora_settings import read_capped
from xpert.models.quantized import quantization, require_quantizer
from xpert.models.whole_models import INDEX, ONE_FILE, weight_files
from xpert.printing import printable

_ADAPTERS = ("adapter_config.json", "adapter_model.*")
_FLOATS = frozenset("F64 F32 F16 BF16".split())
_WHOLE = frozenset("BOOL I64 I32 I16 I8 U64 U32 U16 U8".split())
_HARMLESS = (".inv_freq", ".masked_bias", ".attn.bias", ".attention.bias", ".rotary_emb.", "position_ids")
"""Ends or parts of names of tensors that models once saved and now compute themselves."""


def check_base_files(folder: Path) -> None:
    """Refuse a folder in which more than one model lies, or one whose weights are no plain numbers.

    Raises:
        DamagedModelError: an adapter, two sets of weights, files elsewhere, or quantised weights without a word in the
            configuration on how to read them.
        MissingModelError: a file is missing, or the package that quantised weights are read with.
        ModelError: quantised weights that nothing here reads.
    """
    refuse_adapter(folder)
    strict_json(read_capped(folder / "config.json"), str(folder / "config.json"))
    require_quantizer(folder)
    files = weight_files(folder)
    index = folder / INDEX
    if (folder / ONE_FILE).is_file() and index.is_file():
        named = strict_json(read_capped(index), str(index)).get("weight_map")
        if not isinstance(named, dict) or set(map(str, named.values())) != {ONE_FILE}:
            raise DamagedModelError(
                f"{folder} holds {ONE_FILE} and the shards of {INDEX}, which may be two models: remove the one that is "
                "not meant"
            )
    if quantization(folder) is None:  # else transformers reads them with the package that its configuration needs
        for file in files:
            _refuse_types(file)


def refuse_adapter(folder: Path) -> None:
    """Refuse a base with adapter files beside it, which transformers would put on without a word.

    Raises:
        DamagedModelError: there are some.
    """
    found = sorted(file.name for pattern in _ADAPTERS for file in folder.glob(pattern))
    if found:
        raise DamagedModelError(
            f"{folder} holds a base and an adapter ({', '.join(printable(name, 60) for name in found)}): move the "
            "adapter's files to a folder of their own, and name that as the adapter"
        )


def _refuse_types(file: Path) -> None:
    """Refuse weights in numbers that mean nothing without a scale, such as 8-bit floats."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as stream:
            kinds = {name: str(stream.get_slice(name).get_dtype()) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedModelError(f"model folder {file.parent} cannot be read ({error}): download it again") from error
    for name, kind in kinds.items():
        if kind not in _FLOATS and not (kind in _WHOLE and not name.endswith(".weight")):
            raise DamagedModelError(
                f"{file} holds {printable(name, 100)!r} as {kind}: quantised weights are neither tuned nor merged "
                "here; give the model in float32, float16 or bfloat16"
            )


def check_loaded(model: Any, report: Mapping[str, Any], folder: Path) -> None:
    """Refuse what transformers only tells of in its log: tensors of the files that did not go into the model as it is.

    Raises:
        DamagedModelError: the model has no place for some, they have other shapes, or two that should be one differ.
    """
    refused = report.get("error_msgs") or report.get("mismatched_keys")
    if refused:
        raise misfit(folder)
    left = sorted(name for name in report.get("unexpected_keys") or () if not _is_harmless(name))
    if left:
        raise DamagedModelError(
            f"model folder {folder} holds {len(left)} tensors that {type(model).__name__} has no place for, the first "
            f"{printable(left[0], 100)!r}: its config.json is of another model, or the weights are; download it again"
        )
    for target, source in _untied(model):
        raise DamagedModelError(
            f"model folder {folder}: config.json says that {target!r} and {source!r} are one (tie_word_embeddings), "
            "but the file holds two that differ: set tie_word_embeddings to false, or remove the one that is not meant"
        )


def misfit(folder: Path) -> DamagedModelError:
    """The error of weights that have other shapes than their configuration."""
    return DamagedModelError(
        f"model folder {folder} does not fit its own config.json, whose sizes are not those of the weights: download "
        "it again"
    )


def _is_harmless(name: str) -> bool:
    return any(name.endswith(part) or (part.endswith(".") and part in name) for part in _HARMLESS)


def _untied(model: Any) -> Collection[tuple[str, str]]:
    """Pairs that the configuration says are one tensor, and that the files made two."""
    wanted: dict[str, str] = getattr(model, "get_expanded_tied_weights_keys", lambda **_: {})(all_submodels=True)
    kept = getattr(model, "all_tied_weights_keys", wanted)
    return [(target, source) for target, source in wanted.items() if target not in kept and source not in kept]
