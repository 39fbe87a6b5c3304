"""The steps of a run with torch: forward, backward, update; and how an interrupted one resumes.

Knows a model with trainable parameters, a plan of batches and a folder for its checkpoint; nothing of LoRA.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from xpert.errors import ModelError
from xpert.tuning import checkpoint
from xpert.tuning.batches import Batch, BatchPlan
from xpert.tuning.course import EvaluatedCourse, Stopped, TuningStep
from xpert.tuning.objective import ResponseLoss
from xpert.tuning.settings import TuningSettings


class Trainer(EvaluatedCourse):
    """One run over the trainable parameters of a model.

    Everything that happens is a function of the model, the plan, the evaluation batches and the settings: a
    run that resumes takes the very steps that it would have taken.

    Args:
        model: in memory, on `device`; only parameters with `requires_grad` change.
        loss: the objective around the same model.
        plan: training batches by step.
        evaluation: validation batches; empty where nothing is evaluated.
        settings: of the run.
        folder: for the checkpoint.
        identity: digests that must equal those of a checkpoint, so that it is resumed.
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
        super().__init__(settings, evaluates=bool(evaluation), samples_seen=plan.samples_seen, on_step=on_step)
        self._model, self._loss, self._plan, self._evaluation = model, loss, plan, evaluation
        self._device, self._folder, self._identity = device, folder, identity
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

    def resume(self) -> bool:
        """Take up the checkpoint of the folder; False where there is none.

        Raises:
            SettingsError: it belongs to another run.
            DamagedModelError: it cannot be read, or does not fit the model.
        """
        found = checkpoint.load(self._folder, self._identity)
        if found is None:
            return False
        progress, tensors = found
        self._put({name: tensors[f"adapter/{name}"] for name in self._parameters})
        self._best = {name: tensors[f"best/{name}"].to(self._device) for name in self._parameters}
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer/"):
                _, number, key = name.split("/")
                state.setdefault(int(number), {})[key] = tensor
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        self._took_up(progress)
        return True

    def run(self) -> Stopped:
        """Take steps until the target, a plateau or the last step; the best weights are in the model then.

        Raises:
            ModelError: a loss or gradient was not finite; the best weights so far are in the model.
            KeyboardInterrupt: passed on after a checkpoint was written.
        """
        self._model.train()
        try:
            return self._go()
        finally:
            if self.progress.best is not None:
                self._put(self._best)
            self._model.eval()

    def _write(self) -> None:
        tensors = {f"adapter/{name}": tensor for name, tensor in self._parameters.items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self._best.items()}
        for number, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{key}": tensor for key, tensor in state.items()}
        checkpoint.save(self._folder, self.progress, tensors, self._identity)

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

    def _validation_loss(self) -> float:
        return self._loss.mean(self._evaluation)

    def _keep(self) -> None:
        self._best = self._weights()

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    def _put(self, weights: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(weights[name])
