"""The runtime that any device has: ONNX Runtime and numpy, without torch.

Knows the graphs of an exported folder; nothing of texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpert.errors import ModelError
from xpert.runtime.adapters import read_own_adapter
from xpert.runtime.generation import continued
from xpert.runtime.interface import Answering, Batch, StepReport, StepSettings, TrainingState
from xpert.runtime.manifest import BASE, GRAPHS, PACK_BELOW_BYTES, Manifest, read_manifest
from xpert.runtime.stepping import check_finite, check_state, label_count, mean_loss


class OnnxRuntime:
    """Trains, evaluates and generates with plain ONNX Runtime; see `Runtime` for the law.

    A graph is opened when it is needed first. Weights of the base are mapped from the disk, so graphs share them.

    Args:
        folder: what `xpert export` wrote.
        manifest: of the folder, where it was read already.
        threads: of one operation; 0: as many as the machine has cores.

    Raises:
        MissingModelError, DamagedModelError, MismatchError: the folder cannot be used.
    """

    def __init__(self, folder: Path, *, manifest: Manifest | None = None, threads: int = 0) -> None:
        self._folder, self._threads = folder, threads
        self._manifest = manifest or read_manifest(folder)
        adapter = read_own_adapter(folder, self._manifest)
        zeros = np.zeros_like(adapter)
        self._state = TrainingState(0, adapter, zeros, zeros)
        self._sessions: dict[str, Any] = {}

    @property
    def manifest(self) -> Manifest:
        """Of the folder that was opened."""
        return self._manifest

    def state(self) -> TrainingState:
        """A copy of everything that training changed."""
        now = self._state
        return TrainingState(now.step, now.adapter.copy(), now.first_moment.copy(), now.second_moment.copy())

    def restore(self, state: TrainingState) -> None:
        """Go on from a state."""
        check_state(state, self._manifest)
        self._state = TrainingState(
            state.step, state.adapter.copy(), state.first_moment.copy(), state.second_moment.copy()
        )

    def write_adapter(self, adapter: np.ndarray) -> None:
        """Put (P,) numbers in place of the adapter's."""
        now = self._state
        self.restore(TrainingState(now.step, adapter, now.first_moment, now.second_moment))

    def step(self, batches: Sequence[Batch], settings: StepSettings) -> StepReport:
        """One optimizer step; the gradient of all micro-batches but the last is handed on to the next."""
        state, share = self._state, 1 / label_count(batches)
        session = self._session("recompute" if settings.recompute else "train")
        given = {
            "adapter": state.adapter,
            "first_moment": state.first_moment,
            "second_moment": state.second_moment,
            **self._corrections(state.step + 1),
            "learning_rate": _scalar(settings.learning_rate),
            "weight_decay": _scalar(settings.weight_decay),
            "max_gradient_norm": _scalar(settings.max_gradient_norm),
        }
        loss, gradient = 0.0, np.zeros_like(state.adapter)
        for batch in batches[:-1]:
            fed = {**given, **_fed(batch, share), "accumulated": gradient}
            part, gradient = session.run(["loss", "gradient"], fed)
            loss += float(part)
        wanted = ["loss", "gradient_norm", "new_adapter", "new_first_moment", "new_second_moment"]
        fed = {**given, **_fed(batches[-1], share), "accumulated": gradient}
        part, norm, adapter, first, second = session.run(wanted, fed)
        report = StepReport(loss + float(part), float(norm))
        check_finite(report, state.step + 1, settings)
        self._state = TrainingState(state.step + 1, adapter, first, second)
        return report

    def evaluate(self, batches: Sequence[Batch]) -> float:
        """Mean negative log likelihood of a labelled token, in nats."""
        session, adapter = self._session("evaluate"), self._state.adapter
        return mean_loss(
            batches, lambda batch: float(session.run(["loss"], {"adapter": adapter, **_fed(batch, 1.0)})[0])
        )

    def generate(self, tokens: Sequence[int], how: Answering) -> list[int]:
        """New tokens after the given ones, with a cache of keys and values."""
        sizes, session = self._manifest.sizes, self._session("generate")
        names = [f"{number}.{kind}" for number in range(sizes.blocks) for kind in ("key", "value")]
        empty = np.zeros((1, sizes.pairs, 0, sizes.head_width), np.float32)
        cache = dict.fromkeys(names, empty)

        def following(given: Sequence[int]) -> np.ndarray:
            nonlocal cache
            past = {f"past_key_values.{name}": array for name, array in cache.items()}
            fed = {"adapter": self._state.adapter, "input_ids": np.array([given], np.int64), **past}
            logits, *present = session.run(["logits", *(f"present.{name}" for name in names)], fed)
            cache = dict(zip(names, present, strict=True))
            found: np.ndarray = logits[0]
            return found

        return continued(following, tokens, how, self._manifest.length_tokens)

    def _corrections(self, step: int) -> dict[str, np.ndarray]:
        """What AdamW divides by at a step, which counts from 1; taken in double precision."""
        of = self._manifest.optimizer
        return {
            "first_correction": _scalar(1 - of.beta1**step),
            "second_correction": _scalar(math.sqrt(1 - of.beta2**step)),
        }

    def _session(self, kind: str) -> Any:
        if kind not in self._sessions:
            self._sessions[kind] = _open(self._folder / GRAPHS[kind], self._threads, self._packs())
        return self._sessions[kind]

    def _packs(self) -> bool:
        return self._manifest.files[BASE].size_bytes < PACK_BELOW_BYTES


def _open(graph: Path, threads: int, pack: bool) -> Any:
    """A session on one graph.

    Raises:
        ModelError: this version of ONNX Runtime cannot open it, as where it lacks an operator.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # sizes differ from batch to batch, and patterns hold on to memory
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_prepacking", "0" if pack else "1")
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the errors of this library share no class of their own
        raise ModelError(
            f"ONNX Runtime {onnxruntime.__version__} cannot open {graph} ({error}): use version 1.20 or newer, or "
            "export again"
        ) from error


def _scalar(value: float) -> np.ndarray:
    return np.array(value, dtype=np.float32)


def _fed(batch: Batch, weight: float) -> dict[str, np.ndarray]:
    return {
        "input_ids": batch.input_ids,
        "rows": batch.rows,
        "targets": batch.targets,
        "weights": np.full(len(batch.targets), weight, np.float32),
    }
