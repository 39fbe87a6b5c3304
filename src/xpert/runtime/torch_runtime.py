"""The reference: the same folder, computed by transformers, peft and torch.optim.

The only module of this room that knows torch. What it computes is what other runtimes are measured against.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors import safe_open
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from xpert.runtime.adapters import read_own_adapter, unflatten
from xpert.runtime.generation import continued
from xpert.runtime.interface import Answering, Batch, StepReport, StepSettings, TrainingState
from xpert.runtime.manifest import ADAPTER, BASE, Manifest, read_manifest
from xpert.runtime.stepping import check_finite, check_state, label_count, mean_loss

_SCALE = ".scale"


class TorchRuntime:
    """Trains, evaluates and generates with torch; see `Runtime` for the law.

    Args:
        folder: what `xpert export` wrote.
        manifest: of the folder, where it was read already.

    Raises:
        MissingModelError, DamagedModelError, MismatchError: the folder cannot be used.
    """

    def __init__(self, folder: Path, *, manifest: Manifest | None = None) -> None:
        self._manifest = manifest or read_manifest(folder)
        self._model = _open(folder)
        named = dict(self._model.named_parameters())
        self._parameters = [named[_inside(parameter.name)] for parameter in self._manifest.adapter.parameters]
        constants = self._manifest.optimizer
        self._optimizer = torch.optim.AdamW(
            self._parameters, betas=(constants.beta1, constants.beta2), eps=constants.epsilon, foreach=False
        )
        adapter = read_own_adapter(folder, self._manifest)
        zeros = np.zeros_like(adapter)
        self._step = 0
        self.restore(TrainingState(0, adapter, zeros, zeros))

    @property
    def manifest(self) -> Manifest:
        """Of the folder that was opened."""
        return self._manifest

    def state(self) -> TrainingState:
        """A copy of everything that training changed."""
        moments = [
            self._vector([self._optimizer.state[parameter][key] for parameter in self._parameters])
            for key in ("exp_avg", "exp_avg_sq")
        ]
        return TrainingState(self._step, self._vector(self._parameters), moments[0], moments[1])

    def restore(self, state: TrainingState) -> None:
        """Go on from a state."""
        check_state(state, self._manifest)
        self.write_adapter(state.adapter)
        self._step = state.step
        first, second = unflatten(state.first_moment, self._manifest), unflatten(state.second_moment, self._manifest)
        for parameter, facts in zip(self._parameters, self._manifest.adapter.parameters, strict=True):
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(state.step)),
                "exp_avg": torch.from_numpy(first[facts.name]),
                "exp_avg_sq": torch.from_numpy(second[facts.name]),
            }

    def write_adapter(self, adapter: np.ndarray) -> None:
        """Put (P,) numbers in place of the adapter's."""
        parts = unflatten(adapter, self._manifest)
        set_peft_model_state_dict(self._model, {name: torch.from_numpy(part) for name, part in parts.items()})

    def step(self, batches: Sequence[Batch], settings: StepSettings) -> StepReport:
        """One optimizer step over one or more micro-batches."""
        count, losses = label_count(batches), []
        self._optimizer.zero_grad()
        for batch in batches:
            loss = total_loss(self._model, batch) / count
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(float(loss.detach()))
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, settings.max_gradient_norm)
        report = StepReport(sum(losses), float(norm))
        check_finite(report, self._step + 1, settings)
        for group in self._optimizer.param_groups:
            group["lr"], group["weight_decay"] = settings.learning_rate, settings.weight_decay
        self._optimizer.step()
        self._step += 1
        return report

    def evaluate(self, batches: Sequence[Batch]) -> float:
        """Mean negative log likelihood of a labelled token, in nats."""
        with torch.no_grad():
            return mean_loss(batches, lambda batch: float(total_loss(self._model, batch)))

    def generate(self, tokens: Sequence[int], how: Answering) -> list[int]:
        """New tokens after the given ones, with a cache of keys and values."""
        cache: Any = DynamicCache(config=self._model.config)

        def following(given: Sequence[int]) -> np.ndarray:
            with torch.no_grad():
                made = self._model(input_ids=torch.tensor([list(given)]), past_key_values=cache, use_cache=True)
            logits: np.ndarray = made.logits[0, -1].numpy()
            return logits

        return continued(following, tokens, how, self._manifest.length_tokens)

    def _vector(self, tensors: Sequence[torch.Tensor]) -> np.ndarray:
        whole: np.ndarray = torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).numpy().copy()
        return whole


def _inside(name: str) -> str:
    """Name of a parameter inside a peft model: the file leaves the adapter's own name out."""
    return name.removesuffix(".weight") + ".default.weight"


def _open(folder: Path) -> Any:
    """The base with its adapter's layers, in evaluation mode: there is no dropout on a phone."""
    with torch.random.fork_rng(devices=[]):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=torch.float32, trust_remote_code=False
        )
        missing, _ = model.load_state_dict(_weights(folder / BASE), strict=False)
        assert set(missing) <= {"lm_head.weight"}, missing
        model.tie_weights()
        model.requires_grad_(False)
        lora = LoraConfig.from_pretrained(str(folder / ADAPTER))
        lora.inference_mode = False
        lora.base_model_name_or_path = model.name_or_path
        return get_peft_model(model, lora).eval()


def total_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Negative log likelihood of all labelled tokens of a batch together, in nats."""
    logits = model(input_ids=torch.from_numpy(batch.input_ids), use_cache=False).logits
    chosen = logits.reshape(-1, logits.shape[-1]).index_select(0, torch.from_numpy(batch.rows))
    return functional.cross_entropy(chosen, torch.from_numpy(batch.targets), reduction="sum")


def _weights(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of the base by name, int8 made wide."""
    with safe_open(file, framework="pt") as stream:
        found = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    return {
        name: tensor.float() * found[name + _SCALE][:, None] if name + _SCALE in found else tensor
        for name, tensor in found.items()
        if not name.endswith(_SCALE) and not name.startswith("rotary.")
    }
