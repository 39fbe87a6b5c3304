"""The steps of a run over any runtime, and how an interrupted one resumes.

The same course as `xpert.tuning.loop` takes over torch. Knows the interface of runtimes, a plan of batches and a folder
for its checkpoint; nothing of texts or files of adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from xpert.runtime import checkpoint
from xpert.runtime.batches import Plan
from xpert.runtime.interface import Batch, Runtime, StepSettings
from xpert.tuning.course import EvaluatedCourse, Stopped, TuningStep
from xpert.tuning.settings import TuningSettings


class DeviceTrainer(EvaluatedCourse):
    """One run of a runtime; a run that was interrupted takes the very steps that it would have taken.

    Args:
        runtime: with the adapter that the run starts from.
        plan: training batches by step.
        evaluation: validation batches; empty where nothing is evaluated.
        settings: of the run.
        folder: for the checkpoint.
        identity: digests that must equal those of a checkpoint, so that it is resumed.
        on_step: told of every step; an exception in it ends the run.
    """

    def __init__(
        self,
        runtime: Runtime,
        plan: Plan,
        evaluation: Sequence[Batch],
        *,
        settings: TuningSettings,
        folder: Path,
        identity: Mapping[str, str],
        on_step: Callable[[TuningStep], None] | None,
    ) -> None:
        super().__init__(settings, evaluates=bool(evaluation), samples_seen=plan.samples_seen, on_step=on_step)
        self._runtime, self._plan, self._evaluation = runtime, plan, evaluation
        self._folder, self._identity = folder, identity
        self._best = runtime.state().adapter

    def resume(self) -> bool:
        """Take up the checkpoint of the folder; False where there is none.

        Raises:
            SettingsError: it belongs to another run.
            DamagedModelError, MismatchError: it cannot be read, or does not fit the runtime.
        """
        found = checkpoint.load(self._folder, self._identity)
        if found is None:
            return False
        progress, state, self._best = found
        self._runtime.restore(state)
        self._took_up(progress)
        return True

    def run(self) -> Stopped:
        """Take steps until the target, a plateau or the last step.

        Raises:
            ModelError: a loss or gradient was not finite.
            KeyboardInterrupt: passed on after a checkpoint was written.
        """
        return self._go()

    @property
    def adapter(self) -> np.ndarray:
        """(P,) of the lowest validation loss; the last where nothing was evaluated."""
        return self._runtime.state().adapter if self.progress.best is None else self._best

    def _write(self) -> None:
        checkpoint.save(self._folder, self.progress, self._runtime.state(), self._best, self._identity)

    def _take_step(self) -> None:
        step, of = self.progress.step, self._settings
        with checkpoint.no_interrupt():
            rate = of.learning_rate_at(step)
            settings = StepSettings(rate, of.weight_decay, of.max_grad_norm, of.gradient_checkpointing)
            report = self._runtime.step(self._plan.step(step), settings)
            self.progress.step += 1
            self.progress.train_losses.append(report.loss)

    def _validation_loss(self) -> float:
        return self._runtime.evaluate(self._evaluation)

    def _keep(self) -> None:
        self._best = self._runtime.state().adapter
