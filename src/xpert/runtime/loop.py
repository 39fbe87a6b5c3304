"""The steps of a run over any runtime: learn, evaluate, save, stop; and to go on where one was cut off.

The same course as `xpert.tuning.loop` takes over torch. Knows the interface of runtimes, a plan of batches and a folder
for its checkpoint; nothing of texts or files of adapters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from xpert.runtime import checkpoint
from xpert.runtime.batches import Plan
from xpert.runtime.interface import Batch, Runtime, StepSettings
from xpert.tuning.settings import TuningSettings

Stopped = Literal["target", "plateau", "max_steps"]


@dataclass(frozen=True, slots=True)
class DeviceStep:
    """News of a run, after each step and once before the first.

    Attributes:
        step: optimizer steps taken, 0 before the first.
        max_steps: steps at most.
        train_loss: mean over the response tokens of this step, in nats; None at step 0.
        validation_loss: None where this step was not evaluated.
        learning_rate: of this step; 0 at step 0.
        samples_seen: different samples that were learned from so far.
        seconds: wall time so far, earlier parts of an interrupted run included.
    """

    step: int
    max_steps: int
    train_loss: float | None
    validation_loss: float | None
    learning_rate: float
    samples_seen: int
    seconds: float


class DeviceTrainer:
    """One run of a runtime; a run that was interrupted takes the very steps that it would have taken.

    Args:
        runtime: with the adapter that the run starts from.
        plan: training batches by step.
        evaluation: validation batches; empty where nothing is evaluated.
        settings: of the run.
        folder: for the checkpoint.
        identity: digests that a checkpoint must share to be gone on from.
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
        on_step: Callable[[DeviceStep], None] | None,
    ) -> None:
        self.progress = checkpoint.Progress()
        self._runtime, self._plan, self._evaluation = runtime, plan, evaluation
        self._settings, self._folder, self._identity, self._on_step = settings, folder, identity, on_step
        self._best = runtime.state().adapter
        self._saved_step = -1
        self._clock = (time.perf_counter(), time.process_time())

    def resume(self) -> bool:
        """Take up the checkpoint of the folder; False where there is none.

        Raises:
            SettingsError: it belongs to another run.
            DamagedModelError, MismatchError: it cannot be read, or does not fit the runtime.
        """
        found = checkpoint.load(self._folder, self._identity)
        if found is None:
            return False
        self.progress, state, self._best = found
        self._runtime.restore(state)
        self._saved_step = self.progress.step
        return True

    def run(self) -> Stopped:
        """Take steps until the target, a plateau or the last step.

        Raises:
            ModelError: a loss or gradient was not finite.
            KeyboardInterrupt: passed on after a checkpoint was written.
        """
        self._clock = (time.perf_counter(), time.process_time())
        try:
            while True:
                if self._is_due() and not self._is_evaluated():
                    self._evaluate()
                self._report()
                stopped = self._stopped()
                if stopped is not None or self.progress.step % self._settings.save_every == 0:
                    self._save_if_new()
                if stopped is not None:
                    return stopped
                self._take_step()
        except KeyboardInterrupt:
            self.save()
            raise
        finally:
            self._tick()

    @property
    def adapter(self) -> np.ndarray:
        """(P,) of the lowest validation loss; the last where nothing was evaluated."""
        return self._runtime.state().adapter if self.progress.best is None else self._best

    @property
    def best(self) -> tuple[int, float | None]:
        """Step and validation loss of `adapter`."""
        return self.progress.best or (self.progress.step, None)

    @property
    def samples_seen(self) -> int:
        """How many different samples were learned from so far."""
        return self._plan.samples_seen(self.progress.step)

    def save(self) -> None:
        """Write a checkpoint of the last whole step; Ctrl-C waits until it is done."""
        with checkpoint.no_interrupt():
            self._tick()
            checkpoint.save(self._folder, self.progress, self._runtime.state(), self._best, self._identity)
            self._saved_step = self.progress.step

    def _save_if_new(self) -> None:
        if self.progress.step > max(0, self._saved_step):
            self.save()

    def _take_step(self) -> None:
        step, of = self.progress.step, self._settings
        with checkpoint.no_interrupt():
            rate = of.learning_rate_at(step)
            settings = StepSettings(rate, of.weight_decay, of.max_grad_norm, of.gradient_checkpointing)
            report = self._runtime.step(self._plan.step(step), settings)
            self.progress.step += 1
            self.progress.train_losses.append(report.loss)

    def _is_due(self) -> bool:
        step, every = self.progress.step, self._settings.evaluate_every
        return bool(self._evaluation) and every is not None and (step % every == 0 or step == self._settings.max_steps)

    def _is_evaluated(self) -> bool:
        losses = self.progress.validation_losses
        return bool(losses) and losses[-1][0] == self.progress.step

    def _evaluate(self) -> None:
        loss = self._runtime.evaluate(self._evaluation)
        with checkpoint.no_interrupt():
            self.progress.validation_losses.append((self.progress.step, loss))
            best = self.progress.best
            if best is not None and best[0] == self.progress.step:
                self._best = self._runtime.state().adapter

    def _report(self) -> None:
        progress = self.progress
        if self._on_step is None or progress.reported >= progress.step:
            return
        self._tick()
        progress.reported = progress.step
        self._on_step(
            DeviceStep(
                step=progress.step,
                max_steps=self._settings.max_steps,
                train_loss=progress.train_losses[-1] if progress.train_losses else None,
                validation_loss=progress.validation_losses[-1][1] if self._is_evaluated() else None,
                learning_rate=self._settings.learning_rate_at(progress.step - 1) if progress.step else 0.0,
                samples_seen=self.samples_seen,
                seconds=progress.seconds,
            )
        )

    def _stopped(self) -> Stopped | None:
        settings, progress = self._settings, self.progress
        target = settings.target_validation_loss
        if self._is_evaluated():
            if target is not None and progress.validation_losses[-1][1] <= target:
                return "target"
            if settings.patience is not None and progress.waiting(settings.min_delta) >= settings.patience:
                return "plateau"
        return "max_steps" if progress.step >= settings.max_steps else None

    def _tick(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.progress.seconds += wall - self._clock[0]
        self.progress.cpu_seconds += cpu - self._clock[1]
        self._clock = (wall, cpu)
