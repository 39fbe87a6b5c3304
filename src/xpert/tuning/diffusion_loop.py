"""The steps of a run on pictures: forward, backward, update, average, paint, save; and how an interrupted one resumes.

Knows a U-Net with trainable parameters, batches by step and a folder for its checkpoint; nothing of LoRA or pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from xpert.errors import ModelError
from xpert.tuning import checkpoint
from xpert.tuning.course import Course, Stopped
from xpert.tuning.diffusion_batches import BatchSource
from xpert.tuning.diffusion_objective import DiffusionLoss
from xpert.tuning.diffusion_optimizer import adamw, average, rate_factors
from xpert.tuning.diffusion_settings import DiffusionSettings


@dataclass(frozen=True, slots=True)
class DiffusionStep:
    """News of a run, after each step and once before the first.

    Attributes:
        step: optimizer steps taken, 0 before the first.
        max_steps: steps at most.
        train_loss: of this step; None at step 0. It swings with the timesteps that were drawn.
        learning_rate: of this step; 0 at step 0.
        samples_seen: different pictures that were learned from so far.
        seconds: wall time so far, earlier parts of an interrupted run included.
        painted: pictures that were painted after this step.
        validation_loss: always None: nothing is held apart; what language models' steps have, for displays.
    """

    step: int
    max_steps: int
    train_loss: float | None
    learning_rate: float
    samples_seen: int
    seconds: float
    painted: tuple[Path, ...] = ()
    validation_loss: None = None


class Paint(Protocol):
    """Paints with the weights as they are now, after so many steps; says where."""

    def __call__(self, step: int) -> tuple[Path, ...]: ...


class DiffusionTrainer(Course):
    """One run over the trainable parameters of a U-Net.

    Everything that happens is a function of the U-Net, the batches and the settings: a run that was interrupted and
    goes on takes the very steps that it would have taken.

    Args:
        unet: in memory, on `device`; only parameters with `requires_grad` change.
        source: batches by step, of this process.
        scheduler: the noise schedule.
        accelerator: of accelerate; splits the work over the processes that `accelerate launch` began.
        device: where the U-Net is.
        half: what products are computed in; None: fp32.
        settings: of the run.
        steps: how many.
        folder: for the checkpoint.
        identity: digests that must equal those of a checkpoint, so that it is resumed.
        pictures_seen: steps -> different pictures seen.
        on_step: told of every step by the main process; an exception in it ends the run.
        paint: called when validation pictures are due, by the main process.
    """

    def __init__(
        self,
        unet: Any,
        source: BatchSource,
        scheduler: Any,
        *,
        accelerator: Any,
        device: torch.device,
        half: torch.dtype | None,
        settings: DiffusionSettings,
        steps: int,
        folder: Path,
        identity: Mapping[str, str],
        pictures_seen: Callable[[int], int],
        on_step: Callable[[DiffusionStep], None] | None,
        paint: Paint | None,
    ) -> None:
        super().__init__(settings.save_every)
        self._source, self._accelerator, self._device, self._half = source, accelerator, device, half
        self._settings, self._steps, self._folder, self._identity = settings, steps, folder, identity
        self._pictures_seen, self._on_step, self._paint = pictures_seen, on_step, paint
        self._parameters = {n: p for n, p in unet.named_parameters() if p.requires_grad}
        self._optimizer = adamw(list(self._parameters.values()), settings, device)
        self._rates = rate_factors(settings, steps)
        self._scaler = torch.amp.GradScaler(device.type, enabled=half == torch.float16)
        self._ema = average(list(self._parameters.values()), settings)
        several = accelerator.num_processes > 1
        self._model = accelerator.prepare_model(unet, device_placement=False) if several else unet
        self._loss = DiffusionLoss(self._model, scheduler, settings)

    def resume(self) -> bool:
        """Take up the checkpoint of the folder; False where there is none.

        Raises:
            SettingsError: it belongs to another run.
            DamagedModelError: it cannot be read.
        """
        found = checkpoint.load(self._folder, self._identity)
        if found is None:
            return False
        progress, tensors = found
        state: dict[int, dict[str, torch.Tensor]] = {}
        with torch.no_grad():
            for number, (name, parameter) in enumerate(self._parameters.items()):
                parameter.copy_(tensors.pop(f"weights/{name}"))
                if self._ema is not None:
                    self._ema.shadow_params[number].copy_(tensors.pop(f"average/{name}"))
        for name in [name for name in tensors if name.startswith("optimizer/")]:
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = tensors.pop(name)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        if self._ema is not None:
            self._ema.optimization_step = progress.step
        if "scaler" in tensors:
            scale, growth = tensors["scaler"].tolist()
            known = self._scaler.state_dict()
            self._scaler.load_state_dict(known | {"scale": scale, "_growth_tracker": int(growth)})
        self._took_up(progress)
        return True

    def run(self) -> None:
        """Take all steps; the weights to be written, averaged where that is wanted, are in the U-Net then.

        Raises:
            ModelError: a loss or gradient was not finite.
            KeyboardInterrupt: passed on after a checkpoint was written.
        """
        self._go()
        if self._ema is not None:
            self._ema.copy_to(self._parameters.values())

    def learning_rate_at(self, step: int) -> float:
        """Rate of step `step`, counted from 0: diffusers' schedule."""
        return self._settings.rate * self._rates(step)

    def save(self) -> None:
        """Write a checkpoint of the last whole step, by the main process; Ctrl-C waits until it is done."""
        if self._accelerator.is_main_process:
            super().save()

    def _write(self) -> None:
        tensors: dict[str, torch.Tensor] = {f"weights/{name}": p for name, p in self._parameters.items()}
        if self._ema is not None:
            names = (f"average/{name}" for name in self._parameters)
            tensors |= dict(zip(names, self._ema.shadow_params, strict=True))
        for number, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{key}": tensor for key, tensor in state.items()}
        if self._scaler.is_enabled():
            known = self._scaler.state_dict()
            tensors["scaler"] = torch.tensor([known["scale"], float(known["_growth_tracker"])])
        checkpoint.save(self._folder, self.progress, tensors, self._identity)

    def _stopped(self) -> Stopped | None:
        return "max_steps" if self.progress.step >= self._steps else None

    def _take_step(self) -> None:
        step, settings = self.progress.step, self._settings
        self._optimizer.zero_grad(set_to_none=True)
        losses = []
        for part, batch in enumerate(self._source.step(step), start=1):
            with self._apart(part), self._precision():
                loss = self._loss(batch.to(self._device)) / settings.accumulation_steps
                scaled: Any = self._scaler.scale(loss)
                scaled.backward()
            losses.append(loss.detach())
        self._scaler.unscale_(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(list(self._parameters.values()), settings.max_grad_norm)
        total = torch.stack(losses).sum()
        if self._accelerator.num_processes > 1:
            total = self._accelerator.reduce(total, "mean")
        value, length = torch.stack([total, norm]).tolist()  # the one wait for the device
        # fp16 overflows now and then: its scaler leaves such a step out and scales less from then on.
        if not math.isfinite(value) or not (math.isfinite(length) or self._scaler.is_enabled()):
            half = " or mixed_precision bf16 or no" if self._scaler.is_enabled() else ""
            raise ModelError(
                f"step {step + 1}: the loss is {value} and the gradient's length {length}, which must be finite: use "
                f"a lower learning_rate than {settings.rate:g}{half}"
            )
        with checkpoint.no_interrupt():
            for group in self._optimizer.param_groups:
                group["lr"] = self.learning_rate_at(step)
            self._scaler.step(self._optimizer)
            self._scaler.update()
            if self._ema is not None:
                self._ema.step(self._parameters.values())
            self.progress.step += 1
            self.progress.train_losses.append(value)

    def _apart(self, part: int) -> AbstractContextManager[None]:
        """Processes share their gradients in a step's last backward pass only."""
        if self._accelerator.num_processes == 1 or part == self._settings.accumulation_steps:
            return nullcontext()
        apart: AbstractContextManager[None] = self._accelerator.no_sync(self._model)
        return apart

    def _precision(self) -> torch.autocast:
        return torch.autocast(self._device.type, dtype=self._half, enabled=self._half is not None)

    def _report(self) -> None:
        progress = self.progress
        if not self._is_news():
            return
        painted: tuple[Path, ...] = ()
        every = self._settings.validate_every
        if self._paint is not None and progress.step and (progress.step % every == 0 or progress.step == self._steps):
            with self._averaged(), self._precision():
                painted = self._paint(progress.step)
        self._tick()
        progress.reported = progress.step
        if self._on_step is None or not self._accelerator.is_main_process:
            return
        self._on_step(
            DiffusionStep(
                step=progress.step,
                max_steps=self._steps,
                train_loss=progress.train_losses[-1] if progress.train_losses else None,
                learning_rate=self.learning_rate_at(progress.step - 1) if progress.step else 0.0,
                samples_seen=self._pictures_seen(progress.step),
                seconds=progress.seconds,
                painted=painted,
            )
        )

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights in the U-Net for the length of a block, where there are any."""
        if self._ema is None:
            yield
            return
        with checkpoint.no_interrupt():
            self._ema.store(self._parameters.values())
            self._ema.copy_to(self._parameters.values())
        try:
            yield
        finally:
            with checkpoint.no_interrupt():
                self._ema.restore(self._parameters.values())
