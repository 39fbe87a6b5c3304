"""A person's samples in, a plain peft folder out, on a device that has nothing but an exported folder.

Tells the story of a run: the parts are in `manifest`, `golden`, `memory`, `tokens`, `batches`, `loop`, `checkpoint` and
`adopting`.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from xpert.errors import SettingsError
from xpert.models.adapters import ADAPTER_FILES
from xpert.models.folders import check_free
from xpert.models.reference import file_digest, folder_digest
from xpert.records import Sample
from xpert.runtime import checkpoint
from xpert.runtime.adapters import read_adapter
from xpert.runtime.adopting import write_adapter_folder
from xpert.runtime.batches import Plan, data_digest, evaluation_batches
from xpert.runtime.golden import check_golden, read_golden
from xpert.runtime.interface import Runtime
from xpert.runtime.loop import DeviceTrainer
from xpert.runtime.manifest import MANIFEST, Manifest, read_manifest
from xpert.runtime.memory import check_memory
from xpert.runtime.tokens import Encoded, Tokens
from xpert.tuning.card import CardFacts, write_card
from xpert.tuning.course import TuningResult, TuningStep
from xpert.tuning.settings import TuningSettings

RuntimeName = Literal["onnx", "torch"]
_PACKAGES = {"onnx": "onnxruntime", "torch": "torch"}


@dataclass(frozen=True, slots=True)
class DeviceResult(TuningResult):
    """What a run did.

    Attributes:
        golden_difference: largest difference from the reference on the golden batch.
        memory_bytes: what a step was estimated to need.
    """

    golden_difference: float
    memory_bytes: int


def open_runtime(name: RuntimeName, folder: Path, manifest: Manifest, threads: int = 0) -> Runtime:
    """A runtime by name. Torch is imported only where it is asked for."""
    if name == "torch":
        from xpert.runtime.torch_runtime import TorchRuntime

        return TorchRuntime(folder, manifest=manifest)
    from xpert.runtime.onnx_runtime import OnnxRuntime

    return OnnxRuntime(folder, manifest=manifest, threads=threads)


def checked_runtime(
    name: RuntimeName, folder: Path, manifest: Manifest, threads: int = 0, *, recompute: bool = False
) -> tuple[Runtime, float]:
    """A runtime that computes the golden batch rightly, and how far it was off.

    With `recompute` the steps are taken as `StepSettings.recompute` says.

    Raises:
        ModelError: it does not, or cannot be opened; the text names runtime and version.
    """
    runtime = open_runtime(name, folder, manifest, threads)
    called = f"{_PACKAGES[name]} {version(_PACKAGES[name])} on {platform.machine()}"
    return runtime, check_golden(runtime, read_golden(folder), called, recompute=recompute)


def train_exported(
    folder: Path,
    train: Sequence[Sample],
    validation: Sequence[Sample],
    out: Path,
    settings: TuningSettings,
    *,
    adapter: Path | None = None,
    runtime: RuntimeName = "onnx",
    threads: int = 0,
    memory_budget_bytes: int | None = None,
    on_step: Callable[[TuningStep], None] | None = None,
    fresh: bool = False,
) -> DeviceResult:
    """Train the adapter of an exported folder on samples, as `xpert tune` trains it with the base itself.

    The same samples, settings and start give the same steps, up to rounding. A run that was interrupted lies in
    `<out>.partial`; the same call resumes it.

    Args:
        folder: what `xpert export` wrote.
        train: samples to learn from.
        validation: samples that choose the best step and stop the run.
        out: folder for the peft adapter; must not exist, or be empty.
        settings: of the run; rank, alpha and layers are those of the export.
        adapter: peft folder to start from; None: the export's own.
        runtime: onnx or torch.
        threads: of ONNX Runtime; 0: as many as there are cores.
        memory_budget_bytes: memory that a step may take; None: what the system has left.
        on_step: told of every step; an exception in it ends the run, KeyboardInterrupt with a checkpoint.
        fresh: throw away an unfinished run of `out` first.

    Raises:
        SettingsError: `out` is taken, no samples, settings that an export cannot follow, too little memory, or an
            unfinished run in the way that had other settings or data.
        ModelError: the runtime computes another loss than the reference, or the loss is not finite.
        MissingModelError, DamagedModelError, MismatchError: folder or adapter cannot be used.
    """
    out, folder = Path(out), Path(folder)
    check_free(out)
    _check_settings(train, validation, settings)
    manifest = read_manifest(folder)
    start = None if adapter is None else read_adapter(adapter, folder, manifest)
    tokens = Tokens(folder, manifest.prompt)
    learned = _encoded(tokens, train, settings, "training")
    held = [] if settings.evaluate_every is None else _encoded(tokens, validation, settings, "validation")
    longest = max(len(sample.tokens) for sample in (*learned, *held))
    sparing = settings.gradient_checkpointing
    needed = check_memory(manifest, settings.batch_size, longest, memory_budget_bytes, recompute=sparing)
    opened, difference = checked_runtime(runtime, folder, manifest, threads, recompute=sparing)
    if start is not None:
        opened.write_adapter(start)
    partial = checkpoint.partial_folder(out)
    if fresh:
        checkpoint.discard(partial)
    trainer = DeviceTrainer(
        opened,
        _plan(learned, settings, manifest),
        evaluation_batches(held, 2 * settings.batch_size, manifest.prompt.pad),
        settings=settings,
        folder=partial,
        identity={
            "settings": settings.digest(),
            "data": data_digest(learned, held),
            "artifacts or adapter": file_digest(folder / MANIFEST) + ("" if start is None else _digest(start)),
        },
        on_step=on_step,
    )
    trainer.resume()
    stopped = trainer.run()
    parents = () if adapter is None else (folder_digest(adapter, ADAPTER_FILES),)
    card = _card(out, manifest, settings, trainer, stopped, parents, (len(learned), len(held)))
    write_adapter_folder(folder, manifest, trainer.adapter, out, card)
    checkpoint.discard(partial)
    done = asdict(trainer.result(out, stopped))
    return DeviceResult(**done, golden_difference=difference, memory_bytes=needed)


def _check_settings(train: Sequence[Sample], validation: Sequence[Sample], settings: TuningSettings) -> None:
    faults = []
    if not train:
        faults.append("training samples: 0 are given, at least 1 is needed: give some of the person's texts")
    if not validation and settings.evaluate_every is not None:
        faults.append("validation samples: 0 are given: split some off, or set evaluate_every to None")
    if settings.dropout:
        faults.append(f"dropout is {settings.dropout:g}: exported graphs have none, use 0")
    if settings.dtype == "bfloat16":
        faults.append("dtype is bfloat16: exported graphs compute in float32, use auto")
    if faults:
        raise SettingsError("; ".join(faults))


def _encoded(tokens: Tokens, samples: Sequence[Sample], settings: TuningSettings, purpose: str) -> list[Encoded]:
    encoded = tokens.encode(samples, settings.max_length_tokens)
    if not encoded:
        raise SettingsError(f"{purpose} samples: all {len(samples)} are empty: give samples with a response")
    return encoded


def _plan(learned: Sequence[Encoded], settings: TuningSettings, manifest: Manifest) -> Plan:
    return Plan(
        learned,
        batch_size=settings.batch_size,
        accumulation_steps=settings.accumulation_steps,
        seed=settings.seed,
        pad=manifest.prompt.pad,
    )


def _digest(vector: np.ndarray) -> str:
    return hashlib.sha256(vector.tobytes()).hexdigest()


def _card(
    out: Path,
    manifest: Manifest,
    settings: TuningSettings,
    trainer: DeviceTrainer,
    stopped: str,
    parents: tuple[str, ...],
    counts: tuple[int, int],
) -> str:
    """Text of the adapter's README.md, as `xpert tune` writes it."""
    step, loss = trainer.best
    facts = CardFacts(
        name=out.name,
        base_model=manifest.base.name,
        base_sha256=manifest.base.sha256,
        tokenizer_sha256=manifest.base.tokenizer_sha256,
        parents=parents,
        samples=counts[0],
        validation_samples=counts[1],
        steps=step,
        validation_loss=loss,
        validation_losses=trainer.progress.validation_losses,
        stopped=stopped,
        rank=manifest.adapter.rank,
        alpha=manifest.adapter.alpha,
        target_modules=manifest.adapter.target_modules,
    )
    return write_card(facts, settings)
