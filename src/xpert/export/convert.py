"""A base and an adapter in, a folder for phones out. Tells the story; the parts are beside it.

The base is written once, as plain safetensors, and all graphs read their weights from that file. What changes from
person to person is the adapter's small file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnx

from xpert.errors import MismatchError, ModelError, SettingsError
from xpert.export.architecture import Architecture, read_architecture
from xpert.export.base import OUTER, estimate_memory, write_base
from xpert.export.frozen import Frozen, Place
from xpert.export.graphs import AdaptedLayer, Blueprint, evaluation_graph, generation_graph, training_graph
from xpert.export.objective import BETAS, EPSILON
from xpert.export.prompts import prompt_template, write_tokenizer
from xpert.export.quantisation import loss_error
from xpert.export.tape import OPSET
from xpert.models.adapters import WEIGHTS, inspect_adapter
from xpert.models.cards import CARD
from xpert.models.folders import check_free, whole_folder
from xpert.models.headers import read_header
from xpert.models.loading import LoadedModel
from xpert.models.reference import ModelReference, file_digest, resolve_folder, shared_name
from xpert.models.sizes import check_sizes
from xpert.runtime.golden import check_golden, make_golden
from xpert.runtime.manifest import (
    ADAPTER,
    BASE,
    CONFIG,
    FORMAT,
    GOLDEN,
    GRAPHS,
    TOKENIZER,
    AdapterFacts,
    BaseFacts,
    FileFacts,
    Manifest,
    Optimizer,
    Parameter,
    Sizes,
    write_manifest,
)
from xpert.runtime.onnx_runtime import OnnxRuntime
from xpert.runtime.torch_runtime import TorchRuntime
from xpert.tuning.settings import TuningSettings
from xpert.tuning.start import open_trainable

_WRITERS: dict[str, Callable[[Blueprint], onnx.ModelProto]] = {
    "train": training_graph,
    "recompute": partial(training_graph, recompute=True),
    "evaluate": evaluation_graph,
    "generate": generation_graph,
}
_PACKAGES = ("xpert", "torch", "transformers", "peft", "onnx", "onnxruntime")
_ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """How to export.

    Attributes:
        rank: of a fresh adapter; one that is given keeps its own.
        alpha: of a fresh adapter, likewise.
        target_modules: layers of a fresh adapter, or "all-linear".
        seed: of a fresh adapter.
        max_length_tokens: longest sequence; at most what the base reads.
        int8: keep the matrices of the base as int8 with one scale a row.
    """

    rank: int = 8
    alpha: int = 16
    target_modules: str | tuple[str, ...] = "all-linear"
    seed: int = 0
    max_length_tokens: int = 1024
    int8: bool = False


def export(reference: ModelReference, out: Path, settings: ExportSettings | None = None) -> Manifest:
    """Write a base with LoRA as a folder that any ONNX Runtime trains and answers with.

    Before the folder appears, the reference and ONNX Runtime have both taken its golden steps with the same losses.

    Args:
        reference: the base; with an adapter, that adapter's ranks, scales and layers, and its weights as the start.
        out: folder to write; must not exist, or be empty.
        settings: how to export.

    Raises:
        SettingsError: `out` is taken, or a setting cannot be used.
        ModelError: a family, a layer or a template that no graph is written for, or a graph that computes something
            else than the reference.
        MissingModelError, DamagedModelError, MismatchError: base or adapter cannot be used.
    """
    of = settings or ExportSettings()
    check_free(out)
    architecture = _architecture(reference)
    length = _length(of, architecture)
    chosen = TuningSettings(
        rank=of.rank,
        alpha=of.alpha,
        target_modules=of.target_modules,
        seed=of.seed,
        max_length_tokens=max(8, length),
        dtype="float32",
    )
    loaded, _ = open_trainable(reference, chosen, "cpu")
    layers = _adapted_layers(loaded.model)
    prompt = prompt_template(loaded.tokenizer, loaded.model.generation_config)
    with whole_folder(out) as fresh:
        written = write_base(loaded.model, architecture, length, of.int8, fresh / BASE)
        adapter = _write_adapter(loaded, fresh, _dropout(reference))
        write_tokenizer(loaded.tokenizer, fresh, prompt)
        loaded.model.config.save_pretrained(fresh)
        _write_graphs(fresh, architecture, written.places, layers, adapter)
        name = shared_name(reference.model)
        manifest = Manifest(
            format=FORMAT,
            opset=OPSET,
            made_with=_versions(),
            base=BaseFacts(
                name=name,
                family=architecture.family,
                sha256=loaded.digest,
                tokenizer_sha256=loaded.tokenizer_digest,
                dtype="int8" if of.int8 else "float32",
                weight_error=written.weight_error,
                loss_error=0.0,
            ),
            sizes=Sizes(
                blocks=architecture.blocks,
                pairs=architecture.pairs,
                head_width=architecture.head_width,
                vocabulary=architecture.vocabulary,
            ),
            adapter=adapter,
            optimizer=Optimizer(beta1=BETAS[0], beta2=BETAS[1], epsilon=EPSILON),
            prompt=prompt,
            length_tokens=length,
            memory=estimate_memory(architecture, fresh / BASE, adapter, of.int8),
            files={},
        )
        return _finished(fresh, manifest, loaded)


def _architecture(reference: ModelReference) -> Architecture:
    """Sizes of the base, refused before any weights are read."""
    from transformers import AutoConfig

    folder = resolve_folder(reference.model, reference.revision)
    check_sizes(folder)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # each class of configuration breaks in its own way
        raise ModelError(
            f"{folder}/{CONFIG} is of no model that transformers knows ({error}): give another base"
        ) from error
    return read_architecture(config)


def _length(of: ExportSettings, architecture: Architecture) -> int:
    if of.max_length_tokens < 8:
        raise SettingsError(f"max_length_tokens is {of.max_length_tokens}: it must be at least 8")
    return min(of.max_length_tokens, architecture.positions)


def _adapted_layers(model: Any) -> list[AdaptedLayer]:
    """The layers that an adapter is on, by name.

    Raises:
        ModelError: one that the graphs know no adapter for.
    """
    found = []
    for name, module in model.named_modules():
        if not getattr(module, "lora_A", None) and not getattr(module, "lora_embedding_A", None):
            continue
        inner = name.removeprefix(OUTER)
        if inner.rsplit(".", 1)[-1] not in _ADAPTED:
            raise ModelError(
                f"the adapter changes {inner!r}; exported graphs have adapters on {', '.join(_ADAPTED)} only: tune "
                "without that layer"
            )
        a, b = (f"{name}.lora_{side}.weight" for side in "AB")
        found.append(AdaptedLayer(inner, a, b, float(module.scaling["default"])))
    return found


def _dropout(reference: ModelReference) -> float:
    """LoRA dropout that a given adapter was tuned with; 0 for a fresh one."""
    return 0.0 if reference.adapter is None else inspect_adapter(Path(reference.adapter)).settings.dropout


def _write_adapter(loaded: LoadedModel, folder: Path, dropout: float) -> AdapterFacts:
    """The starting adapter as a plain peft folder, and its matrices in the order of the file's bytes."""
    config = loaded.model.peft_config["default"]
    config.target_modules = sorted(config.target_modules)
    loaded.model.save_pretrained(str(folder / ADAPTER), save_embedding_layers=False)
    (folder / ADAPTER / CARD).unlink(missing_ok=True)
    parameters, offset = [], 0
    for entry in read_header(folder / ADAPTER / WEIGHTS):
        if entry.dtype != "F32":
            raise MismatchError(
                f"the adapter's {entry.name!r} is {entry.dtype}, the graphs need F32: save it as float32"
            )
        parameter = Parameter(name=entry.name, shape=entry.shape, offset=offset)
        parameters.append(parameter)
        offset += parameter.size
    return AdapterFacts(
        rank=config.r,
        alpha=config.lora_alpha,
        target_modules=tuple(config.target_modules),
        parameters=tuple(parameters),
        dropout_left_out=dropout,
    )


def _write_graphs(
    folder: Path,
    architecture: Architecture,
    places: dict[str, Place],
    layers: list[AdaptedLayer],
    adapter: AdapterFacts,
) -> None:
    parameters = {parameter.name: parameter.shape for parameter in adapter.parameters}
    plan = Blueprint(architecture, Frozen(BASE, places), layers, parameters, {"xpert_format": str(FORMAT)})
    for kind, file in GRAPHS.items():
        onnx.save(_WRITERS[kind](plan), str(folder / file))
        onnx.checker.check_model(str(folder / file))


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _finished(folder: Path, manifest: Manifest, loaded: LoadedModel) -> Manifest:
    """Golden steps from the reference, checked with ONNX Runtime; then the manifest, which makes the folder whole."""
    for name in (p for p in folder.iterdir() if p.name == "generation_config.json"):
        name.unlink()
    golden = make_golden(TorchRuntime(folder, manifest=manifest))
    (folder / GOLDEN).write_text(golden.model_dump_json() + "\n", "utf-8")
    if manifest.base.dtype == "int8":
        base = manifest.base.model_copy(update={"loss_error": loss_error(folder, manifest, loaded)})
        manifest = manifest.model_copy(update={"base": base})
    names = [BASE, *GRAPHS.values(), GOLDEN, TOKENIZER, CONFIG, *_adapter_files(folder)]
    files = {n: FileFacts(size_bytes=(folder / n).stat().st_size, sha256=file_digest(folder / n)) for n in names}
    manifest = manifest.model_copy(update={"files": files})
    runtime, called = OnnxRuntime(folder, manifest=manifest, threads=1), f"onnxruntime {version('onnxruntime')}"
    for recompute in (False, True):
        check_golden(runtime, golden, called, recompute=recompute)
    return write_manifest(folder, manifest)


def _adapter_files(folder: Path) -> list[str]:
    return [f"{ADAPTER}/{path.name}" for path in sorted((folder / ADAPTER).iterdir())]
