"""A LoRA adapter on disk: what it is, and whether it belongs to a base model.

Knows files, names and shapes; never runs an adapter, never unpickles, never imports what a file names. A LoRA
adapter adds (alpha / r) B A to the weights of the layers it targets, with A (r, in) and B (out, r). Adapters that
do more than that (whole layers, biases, DoRA, new tokens, changed bases) are refused: they could be neither
merged nor compared as a difference from the base.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from xpert.errors import DamagedModelError, MismatchError, MissingModelError
from xpert.models.cards import CARD, card_digest, card_facts, check_card
from xpert.models.foreign_adapters import refuse_foreign
from xpert.models.headers import read_header
from xpert.models.lora_settings import LoraSettings, named, read_lora_settings
from xpert.models.magnitudes import check_magnitudes, read_magnitudes
from xpert.models.reference import folder_digest, model_digest, tokenizer_digest
from xpert.models.skeletons import skeleton
from xpert.printing import printable

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
ADAPTER_FILES = (CONFIG, WEIGHTS)
"""The files that make an adapter; its digest covers their names and contents, and not the card."""

_TENSOR = re.compile(
    r"base_model\.model\.(?P<module>.+)\.(?:lora_(?P<side>[AB])\.weight|lora_embedding_(?P<table>[AB]))"
)


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What the files of an adapter say.

    Attributes:
        folder: where they lie.
        digest: SHA-256 over names and contents of `ADAPTER_FILES`.
        base_name: what its configuration calls the base; advice, since anyone may write anything there.
        rank: LoRA rank r of layers to which the configuration gives no rank of their own.
        alpha: scale of layers to which the configuration gives no alpha of their own.
        target_modules: sorted names, or ends of names, of the adapted layers.
        shapes: tensor name -> shape.
        size_bytes: bytes of `ADAPTER_FILES` and, where there is one, of the card.
        base_digest: `base_sha256` of the card, None where it has none.
        tokenizer_digest: `tokenizer_sha256` of the card, None where it has none.
        settings: the whole of the LoRA configuration that counts.
    """

    folder: Path
    digest: str
    base_name: str
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    size_bytes: int
    base_digest: str | None
    tokenizer_digest: str | None
    settings: LoraSettings


def inspect_adapter(folder: Path) -> AdapterFacts:
    """Read configuration, tensor header and card of an adapter, and look for NaN; loads no model.

    Raises:
        MissingModelError: no such folder, or a file of it is missing or cannot be read.
        DamagedModelError: not a plain LoRA adapter, a pickle, a header that lies, NaN or infinite numbers.
    """
    try:
        return _inspect(folder)
    except OSError as error:
        raise MissingModelError(
            f"{folder} cannot be read ({error.strerror or error}): check path and rights"
        ) from error


def _inspect(folder: Path) -> AdapterFacts:
    if not folder.is_dir():
        raise MissingModelError(f"no adapter folder {folder}: give the folder that peft's `save_pretrained` wrote")
    refuse_foreign(folder)
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            found = sorted(p.name for p in folder.glob("adapter_model.*"))
            pickled = f" (there is {', '.join(found)}, but unpickling runs code and is refused)" if found else ""
            raise MissingModelError(
                f"{folder} holds no {name}{pickled if name == WEIGHTS else ''}: save the adapter with "
                "`save_pretrained(..., safe_serialization=True)`"
            )
    digest = folder_digest(folder, ADAPTER_FILES)
    check_card(folder / CARD, digest)
    settings = read_lora_settings(folder / CONFIG)
    entries = read_header(folder / WEIGHTS)
    shapes = {entry.name: entry.shape for entry in entries}
    pairs = _pairs(shapes, folder / WEIGHTS)
    named_pairs = ((layer, *pair.names(layer), settings.scale_of(layer)) for layer, pair in pairs.items())
    check_magnitudes(folder / WEIGHTS, read_magnitudes(folder / WEIGHTS, entries), named_pairs)
    card = card_facts(folder / CARD)
    present = [folder / name for name in (*ADAPTER_FILES, CARD) if (folder / name).is_file()]
    return AdapterFacts(
        folder=folder,
        digest=digest,
        base_name=settings.base_name,
        rank=settings.rank,
        alpha=settings.alpha,
        target_modules=settings.target_modules,
        shapes=shapes,
        size_bytes=sum(file.stat().st_size for file in present),
        base_digest=card_digest(card, "base_sha256"),
        tokenizer_digest=card_digest(card, "tokenizer_sha256"),
        settings=settings,
    )


class _Pair(NamedTuple):
    """Shapes of one layer's A and B, and whether the layer is an embedding table."""

    a: tuple[int, ...]
    b: tuple[int, ...]
    table: bool

    def names(self, layer: str) -> tuple[str, str]:
        """Names of A and B in the file, as peft writes them."""
        return tensor_name(layer, "A", self.table), tensor_name(layer, "B", self.table)


def tensor_name(layer: str, side: str, table: bool) -> str:
    """Name of A or B of a layer in peft's file; that of an embedding table differs."""
    return f"base_model.model.{layer}." + (f"lora_embedding_{side}" if table else f"lora_{side}.weight")


def _pairs(shapes: Mapping[str, tuple[int, ...]], path: Path) -> dict[str, _Pair]:
    """Layer -> its A and B; refuses every other tensor, and an A without B."""
    sides: dict[tuple[str, bool], dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        if (match := _TENSOR.fullmatch(name)) is None:
            raise DamagedModelError(
                f"{path}: tensor {name!r} is neither A nor B of a layer; only LoRA matrices are read: save without "
                "whole layers (`save_embedding_layers=False`, no modules_to_save)"
            )
        table = match["table"] is not None
        sides.setdefault((match["module"], table), {})[match["table"] or match["side"]] = shape
    if not sides:
        raise DamagedModelError(f"{path} holds no tensors: save the adapter again")
    pairs: dict[str, _Pair] = {}
    for (module, table), found in sides.items():
        if found.keys() != {"A", "B"} or module in pairs:
            raise DamagedModelError(f"{path}: layer {module!r} needs one A and one B: save the adapter again")
        pairs[module] = _Pair(found["A"], found["B"], table)
    return pairs


def adapter_key(name: str) -> tuple[str, str] | None:
    """(layer, "A" or "B") of a tensor's name, of an embedding table's as well; None where it is none."""
    match = _TENSOR.fullmatch(name)
    return None if match is None else (match["module"], match["table"] or match["side"])


class BaseLayer(NamedTuple):
    """A layer of a base that can be adapted.

    Attributes:
        inputs: A is (r, inputs); of an embedding table, its words.
        outputs: B is (outputs, r); of an embedding table, its width.
        table: an embedding table.
        transposed: its weight is kept as (inputs, outputs): a table, or a Conv1D as in GPT-2.
        tied: its weight is another layer's as well.
    """

    inputs: int
    outputs: int
    table: bool
    transposed: bool
    tied: bool


def base_layers(folder: Path) -> dict[str, BaseLayer]:
    """Name -> layer of a base, as its configuration says; loads no weights.

    Raises:
        MissingModelError: the base folder lacks files.
        DamagedModelError: no model can be built from its configuration.
    """
    return _base_layers(folder.resolve(), model_digest(folder))


@lru_cache(maxsize=8)
def _base_layers(folder: Path, digest: str) -> dict[str, BaseLayer]:
    """The layers of a base; remembered by the base's digest."""
    import torch
    from transformers.pytorch_utils import Conv1D

    model = skeleton(folder)
    owners = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    layers = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            layer = BaseLayer(module.in_features, module.out_features, table=False, transposed=False, tied=False)
        elif isinstance(module, torch.nn.Embedding):
            layer = BaseLayer(module.num_embeddings, module.embedding_dim, table=True, transposed=True, tied=False)
        elif isinstance(module, Conv1D):
            inputs, outputs = map(int, module.weight.shape)
            layer = BaseLayer(inputs, outputs, table=False, transposed=True, tied=False)
        else:
            continue
        layers[name] = layer._replace(tied=owners[id(module.weight)] > 1)
    return layers


def check_fit(facts: AdapterFacts, base_folder: Path) -> None:
    """Refuse an adapter that does not belong to a base model.

    Compared are the digests of base and tokenizer where the adapter's card has them, then, for every adapted
    layer, A (r, in) and B (out, r) against the base's layer (an embedding table counts words as in, width as out).

    Raises:
        MismatchError: the text names what differs.
        MissingModelError: the base folder lacks files.
        DamagedModelError: no model can be built from the base's configuration.
    """
    base = model_digest(base_folder)
    made_for = f" ({printable(facts.base_name, 100)})" if facts.base_name else ""
    if facts.base_digest is not None and facts.base_digest != base:
        raise MismatchError(
            f"adapter {facts.folder} was tuned on base {facts.base_digest[:12]}…{made_for}, but {base_folder} is "
            f"{base[:12]}…: give the base that it was tuned on"
        )
    if facts.tokenizer_digest is not None and facts.tokenizer_digest != (own := tokenizer_digest(base_folder)):
        raise MismatchError(
            f"adapter {facts.folder} was tuned with tokenizer {facts.tokenizer_digest[:12]}…, {base_folder} has "
            f"{own[:12]}…: the same text would become other tokens; give the tokenizer that it was tuned with"
        )
    layers = base_layers(base_folder)
    differences = _differences(facts, layers)
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise MismatchError(
            f"adapter {facts.folder}{made_for} does not fit base {base_folder}: {'; '.join(differences[:3])}{more}: "
            "give the base that it was tuned on"
        )


def _differences(facts: AdapterFacts, layers: Mapping[str, BaseLayer]) -> list[str]:
    """One sentence for everything that does not fit, in the order in which a person would look."""
    found = [
        f"it targets {target!r}, which the base does not have"
        for target in facts.target_modules
        if not any(named(module, (target,)) for module in layers)
    ]
    pairs = _pairs(facts.shapes, facts.folder / WEIGHTS)
    for module, pair in pairs.items():
        layer = layers.get(module)
        if layer is None or layer.table != pair.table:
            found.append(f"it has tensors for {module!r}, which is no such layer of the base")
            continue
        if facts.settings.ties_layers and layer.tied:
            found.append(
                f"it adapts {module!r}, whose weight is another layer's as well, with ensure_weight_tying, so that "
                "both change; only layers of their own are read"
            )
        if not facts.settings.adapts(module):
            found.append(f"it has tensors for {module!r}, which its target_modules do not name")
        rank = facts.settings.rank_of(module)
        for side, shape, wanted in (("A", pair.a, (rank, layer.inputs)), ("B", pair.b, (layer.outputs, rank))):
            if shape != wanted:
                found.append(f"{side} of {module!r} has shape {shape}, base and configured rank {rank} need {wanted}")
    missing = [module for module in layers if facts.settings.adapts(module) and module not in pairs]
    return found + [f"it lacks the tensors of {module!r}, which it targets" for module in missing]
