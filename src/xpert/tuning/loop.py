"""The steps of a run: forward, backward, update, evaluate, save, stop; and to go on where one was cut off.

Knows a model with trainable parameters, a plan of batches and a folder for its checkpoint; nothing of LoRA.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from xpert.errors import ModelError
from xpert.tuning import checkpoint
from xpert.tuning.batches import Batch, BatchPlan
from xpert.tuning.objective import ResponseLoss
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


class Trainer:
    """One run over the trainable parameters of a model.

    Everything that happens is a function of the model, the plan, the evaluation batches and the settings: a
    run that was interrupted and goes on takes the very steps that it would have taken.

    Args:
        model: in memory, on `device`; only parameters with `requires_grad` change.
        loss: the objective around the same model.
        plan: training batches by step.
        evaluation: validation batches; empty where nothing is evaluated.
        settings: of the run.
        folder: for the checkpoint.
        identity: digests that a checkpoint must share to be gone on from.
        on_step: told of every step; an exception in it ends the run.
    """

    def __init__(
        self,
        model: Any,
        loss: ResponseLoss,
        plan: BatchPlan,
        evaluation: Sequence[Batch],
        *,
        device: torch.device,
        settings: TuningSettings,
        folder: Path,
        identity: Mapping[str, str],
        on_step: Callable[[TuningStep], None] | None,
    ) -> None:
        self.progress = checkpoint.Progress()
        self._model, self._loss, self._plan, self._evaluation = model, loss, plan, evaluation
        self._device, self._settings, self._folder = device, settings, folder
        self._identity, self._on_step = identity, on_step
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        fused = device.type in ("cpu", "cuda")
        self._optimizer = torch.optim.AdamW(
            list(self._parameters.values()),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=fused or None,
            foreach=None if fused else True,
        )
        self._best = self._weights()
        self._saved_step = -1
        self._clock = (time.perf_counter(), time.process_time())

    def resume(self) -> bool:
        """Take up the checkpoint of the folder; False where there is none.

        Raises:
            SettingsError: it belongs to another run.
            DamagedModelError: it cannot be read, or does not fit the model.
        """
        found = checkpoint.load(self._folder, self._identity)
        if found is None:
            return False
        self.progress, tensors = found
        self._put({name: tensors[f"adapter/{name}"] for name in self._parameters})
        self._best = {name: tensors[f"best/{name}"].to(self._device) for name in self._parameters}
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer/"):
                _, number, key = name.split("/")
                state.setdefault(int(number), {})[key] = tensor
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        self._saved_step = self.progress.step
        return True

    def run(self) -> Stopped:
        """Take steps until the target, a plateau or the last step; the best weights are in the model then.

        Raises:
            ModelError: a loss or gradient was not finite; the best weights so far are in the model.
            KeyboardInterrupt: passed on after a checkpoint was written.
        """
        self._clock = (time.perf_counter(), time.process_time())
        self._model.train()
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
            if self.progress.best is not None:
                self._put(self._best)
            self._model.eval()

    @property
    def best(self) -> tuple[int, float | None]:
        """Step and validation loss of the weights that are kept: the best, or the last if never evaluated."""
        return self.progress.best or (self.progress.step, None)

    @property
    def samples_seen(self) -> int:
        """How many different samples were learned from so far."""
        return self._plan.samples_seen(self.progress.step)

    def _save_if_new(self) -> None:
        if self.progress.step > max(0, self._saved_step):
            self.save()

    def save(self) -> None:
        """Write a checkpoint of the last whole step; Ctrl-C waits until it is done."""
        with checkpoint.no_interrupt():
            self._tick()
            tensors = {f"adapter/{name}": tensor for name, tensor in self._parameters.items()}
            tensors |= {f"best/{name}": tensor for name, tensor in self._best.items()}
            for number, state in self._optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{number}/{key}": tensor for key, tensor in state.items()}
            checkpoint.save(self._folder, self.progress, tensors, self._identity)
            self._saved_step = self.progress.step

    def _take_step(self) -> None:
        step, settings = self.progress.step, self._settings
        torch.manual_seed((settings.seed * 1_000_003 + step + 1) % 2**63)
        self._optimizer.zero_grad(set_to_none=True)
        batches = self._plan.step(step)
        tokens = sum(batch.targets.numel() for batch in batches)
        losses = []
        for batch in batches:
            loss = self._loss.total(batch.to(self._device)) / tokens
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        norm = torch.nn.utils.clip_grad_norm_(list(self._parameters.values()), settings.max_grad_norm)
        value, length = torch.stack([torch.stack(losses).sum(), norm]).tolist()  # the one wait for the device
        if not (math.isfinite(value) and math.isfinite(length)):
            raise ModelError(
                f"step {step + 1}: the loss is {value} and the gradient's length {length}, which must be finite: use "
                f"a lower learning_rate than {settings.learning_rate:g}"
            )
        with checkpoint.no_interrupt():
            for group in self._optimizer.param_groups:
                group["lr"] = settings.learning_rate_at(step)
            self._optimizer.step()
            self.progress.step += 1
            self.progress.train_losses.append(value)

    def _is_due(self) -> bool:
        step, every = self.progress.step, self._settings.evaluate_every
        return bool(self._evaluation) and every is not None and (step % every == 0 or step == self._settings.max_steps)

    def _is_evaluated(self) -> bool:
        losses = self.progress.validation_losses
        return bool(losses) and losses[-1][0] == self.progress.step

    def _evaluate(self) -> None:
        loss = self._loss.mean(self._evaluation)
        with checkpoint.no_interrupt():
            self.progress.validation_losses.append((self.progress.step, loss))
            best = self.progress.best
            if best is not None and best[0] == self.progress.step:
                self._best = self._weights()

    def _report(self) -> None:
        progress = self.progress
        if self._on_step is None or progress.reported >= progress.step:
            return
        self._tick()
        progress.reported = progress.step
        self._on_step(
            TuningStep(
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

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    def _put(self, weights: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(weights[name])

    def _tick(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.progress.seconds += wall - self._clock[0]
        self.progress.cpu_seconds += cpu - self._clock[1]
        self._clock = (wall, cpu)
