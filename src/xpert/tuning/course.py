"""The course of a run: learn, look, tell, save, stop; whatever learns. The same for torch, devices and pictures.

Knows numbers and a folder for the checkpoint; no tensors, so that a device needs no torch for it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xpert.models.folders import no_interrupt
from xpert.tuning.progress import Progress
from xpert.tuning.settings import TuningSettings

Stopped = Literal["target", "plateau", "max_steps"]


@dataclass(frozen=True, slots=True)
class TuningStep:
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


@dataclass(frozen=True, slots=True)
class TuningResult:
    """What a run did.

    Attributes:
        out: the adapter folder.
        steps: optimizer steps taken; the adapter holds those up to `best_step`.
        samples_seen: different samples that were learned from.
        seconds: wall time of steps and evaluations (loading is not in it), interrupted parts included.
        cpu_seconds: processor time of the same.
        train_losses: one a step, in nats a response token.
        validation_losses: (step, loss) of every evaluation.
        best_step: step of the weights in `out`; 0 are the weights that the run started from.
        best_loss: their validation loss; None if never evaluated.
        stopped: "target", "plateau" or "max_steps".
        initial_loss: validation loss before the first step; None if never evaluated.
    """

    out: Path
    steps: int
    samples_seen: int
    seconds: float
    cpu_seconds: float
    train_losses: list[float]
    validation_losses: list[tuple[int, float]]
    best_step: int
    best_loss: float | None
    stopped: Stopped
    initial_loss: float | None


class Course(ABC):
    """A run, step by step, saved every `save_every` steps and at its end.

    Args:
        save_every: steps from one checkpoint to the next.
    """

    def __init__(self, save_every: int) -> None:
        self.progress = Progress()
        self._save_every = save_every
        self._saved_step = -1
        self._clock = (time.perf_counter(), time.process_time())

    def save(self) -> None:
        """Write a checkpoint of the last whole step; Ctrl-C waits until it is done."""
        with no_interrupt():
            self._tick()
            self._write()
            self._saved_step = self.progress.step

    def _go(self) -> Stopped:
        """Take steps until one is the last.

        Raises:
            KeyboardInterrupt: passed on after a checkpoint was written.
        """
        self._clock = (time.perf_counter(), time.process_time())
        try:
            while True:
                self._report()
                stopped = self._stopped()
                if stopped is not None or self.progress.step % self._save_every == 0:
                    self._save_if_new()
                if stopped is not None:
                    return stopped
                self._take_step()
        except KeyboardInterrupt:
            self.save()
            raise
        finally:
            self._tick()

    def _took_up(self, progress: Progress) -> None:
        """Go on from a checkpoint."""
        self.progress = progress
        self._saved_step = progress.step

    def _is_news(self) -> bool:
        """Whether this step is still to be told of."""
        return self.progress.reported < self.progress.step

    def _save_if_new(self) -> None:
        if self.progress.step > max(0, self._saved_step):
            self.save()

    def _tick(self) -> None:
        """Put the time since the last call to the run's."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.progress.seconds += wall - self._clock[0]
        self.progress.cpu_seconds += cpu - self._clock[1]
        self._clock = (wall, cpu)

    @abstractmethod
    def _take_step(self) -> None:
        """Learn, and count it; an interrupt falls before or after both."""

    @abstractmethod
    def _report(self) -> None:
        """Look at what this step became, and tell of it once."""

    @abstractmethod
    def _stopped(self) -> Stopped | None:
        """Why this step is the last; None: it is not."""

    @abstractmethod
    def _write(self) -> None:
        """Write the checkpoint."""


class EvaluatedCourse(Course):
    """A run that keeps the weights of its lowest validation loss.

    Args:
        settings: of the run.
        evaluates: whether there are samples to evaluate.
        samples_seen: steps -> different samples seen.
        on_step: told of every step; an exception in it ends the run.
    """

    def __init__(
        self,
        settings: TuningSettings,
        *,
        evaluates: bool,
        samples_seen: Callable[[int], int],
        on_step: Callable[[TuningStep], None] | None,
    ) -> None:
        super().__init__(settings.save_every)
        self._settings, self._evaluates = settings, evaluates
        self._samples_seen, self._on_step = samples_seen, on_step

    @property
    def best(self) -> tuple[int, float | None]:
        """Step and validation loss of the weights that are kept: the best, or the last if never evaluated."""
        return self.progress.best or (self.progress.step, None)

    def result(self, out: Path, stopped: Stopped) -> TuningResult:
        """What the run did, its weights being in `out`."""
        progress, (best_step, best_loss) = self.progress, self.best
        losses = progress.validation_losses
        return TuningResult(
            out=out,
            steps=progress.step,
            samples_seen=self._samples_seen(progress.step),
            seconds=progress.seconds,
            cpu_seconds=progress.cpu_seconds,
            train_losses=list(progress.train_losses),
            validation_losses=list(losses),
            best_step=best_step,
            best_loss=best_loss,
            stopped=stopped,
            initial_loss=losses[0][1] if losses else None,
        )

    @abstractmethod
    def _validation_loss(self) -> float:
        """Of the weights as they are."""

    @abstractmethod
    def _keep(self) -> None:
        """Keep the weights as they are: they are the best so far."""

    def _report(self) -> None:
        progress, settings = self.progress, self._settings
        if self._is_due() and not self._is_evaluated():
            self._evaluate()
        if self._on_step is None or not self._is_news():
            return
        self._tick()
        progress.reported = progress.step
        self._on_step(
            TuningStep(
                step=progress.step,
                max_steps=settings.max_steps,
                train_loss=progress.train_losses[-1] if progress.train_losses else None,
                validation_loss=progress.validation_losses[-1][1] if self._is_evaluated() else None,
                learning_rate=settings.learning_rate_at(progress.step - 1) if progress.step else 0.0,
                samples_seen=self._samples_seen(progress.step),
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

    def _is_due(self) -> bool:
        step, every = self.progress.step, self._settings.evaluate_every
        return self._evaluates and every is not None and (step % every == 0 or step == self._settings.max_steps)

    def _is_evaluated(self) -> bool:
        losses = self.progress.validation_losses
        return bool(losses) and losses[-1][0] == self.progress.step

    def _evaluate(self) -> None:
        loss = self._validation_loss()
        with no_interrupt():
            self.progress.validation_losses.append((self.progress.step, loss))
            best = self.progress.best
            if best is not None and best[0] == self.progress.step:
                self._keep()
