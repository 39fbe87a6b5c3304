"""A run on a device: the same as `xpert tune`, resumable at every step, without torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from xpert.models.adapters import WEIGHTS, check_fit, inspect_adapter
from xpert.models.reference import ModelReference
from xpert.records import Sample
from xpert.runtime import train_exported
from xpert.runtime.batches import Plan, evaluation_batches
from xpert.runtime.manifest import read_manifest
from xpert.runtime.tokens import Tokens
from xpert.tuning import TuningSettings, TuningStep, tune
from xpert.tuning import batches as tuning_batches

# What a device does not have; importing it there fails.
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "peft", "onnx"):
            raise ModuleNotFoundError(f"{name} is not on a device", name=name)
sys.meta_path.insert(0, Blocked())
"""
RUN = """
import json, os, signal
from pathlib import Path
from xpert.records import Sample
from xpert.runtime import train_exported
from xpert.tuning import TuningSettings
given = json.loads(sys.argv[1])
samples = lambda name: [Sample(*pair) for pair in given[name]]
def on_step(step):
    if step.step == given["kill"]:
        os.kill(os.getpid(), signal.SIGKILL)
done = train_exported(Path(given["folder"]), samples("train"), samples("validation"), Path(given["out"]),
                      TuningSettings(**given["settings"]), threads=1, on_step=on_step)
print(json.dumps([done.train_losses, done.validation_losses, done.best_step]))
"""


def on_device(
    folder: Path,
    train: list[Sample],
    validation: list[Sample],
    out: Path,
    settings: TuningSettings,
    kill: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """A run in a process of its own, where torch cannot be imported; killed after step `kill`."""
    given = {
        "folder": str(folder),
        "out": str(out),
        "settings": settings.model_dump(),
        "train": [(sample.prompt, sample.response) for sample in train],
        "validation": [(sample.prompt, sample.response) for sample in validation],
        "kill": kill,
    }
    command = [sys.executable, "-c", BLOCKED + RUN, json.dumps(given)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_steps_are_those_of_tune(
    base: Path,
    exported: Path,
    train: list[Sample],
    validation: list[Sample],
    settings: TuningSettings,
    tmp_path: Path,
) -> None:
    plain = tune(ModelReference(str(base)), train, validation, tmp_path / "plain", settings, device="cpu")
    device = train_exported(exported, train, validation, tmp_path / "device", settings, threads=1)
    assert device.train_losses == pytest.approx(plain.train_losses, abs=1e-5)
    assert [loss for _, loss in device.validation_losses] == pytest.approx(
        [loss for _, loss in plain.validation_losses], abs=1e-5
    )
    assert (device.samples_seen, device.best_step) == (plain.samples_seen, plain.best_step)
    facts = inspect_adapter(tmp_path / "device")
    check_fit(facts, base)
    assert facts.base_digest is not None
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "device"))
    ours, theirs = load_file(tmp_path / "device" / WEIGHTS), load_file(tmp_path / "plain" / WEIGHTS)
    assert ours.keys() == theirs.keys()
    assert max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours) <= 1e-4


def test_killed_without_torch_it_goes_on_as_if_it_had_not_been(
    exported: Path, train: list[Sample], validation: list[Sample], settings: TuningSettings, tmp_path: Path
) -> None:
    whole = on_device(exported, train, validation, tmp_path / "whole", settings)
    assert whole.returncode == 0, whole.stderr
    killed = on_device(exported, train, validation, tmp_path / "mine", settings, kill=5)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "mine").exists()
    resumed = on_device(exported, train, validation, tmp_path / "mine", settings)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout) == json.loads(whole.stdout)
    assert (tmp_path / "mine" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    assert not (tmp_path / "mine.partial").exists()


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_broken_off_after_any_step_it_goes_on(
    runtime: str,
    exported: Path,
    train: list[Sample],
    validation: list[Sample],
    settings: TuningSettings,
    tmp_path: Path,
) -> None:
    def run(out: Path, stop: int | None = None) -> list[float]:
        def on_step(step: TuningStep) -> None:
            if step.step == stop:
                raise RuntimeError("power cut")

        done = train_exported(exported, train, validation, out, settings, runtime=runtime, threads=1, on_step=on_step)  # type: ignore[arg-type]
        return [*done.train_losses, *(loss for _, loss in done.validation_losses)]

    whole = run(tmp_path / "whole")
    for stop in (1, 3, 4, 8):
        with pytest.raises(RuntimeError, match="power cut"):
            run(tmp_path / f"cut{stop}", stop)
        assert run(tmp_path / f"cut{stop}") == whole


def test_early_stop_and_target(
    exported: Path, train: list[Sample], validation: list[Sample], settings: TuningSettings, tmp_path: Path
) -> None:
    def run(name: str, **changed: object) -> tuple[str, int, int]:
        chosen = settings.model_copy(update={"evaluate_every": 2, **changed})
        done = train_exported(exported, train, validation, tmp_path / name, chosen, threads=1)
        return done.stopped, done.steps, done.best_step

    assert run("target", target_validation_loss=100.0) == ("target", 0, 0)
    stopped, steps, best = run("plateau", patience=2, learning_rate=3.0, max_steps=40)
    assert stopped == "plateau" and steps == best + 4


def test_tokens_and_order_are_those_of_tuning(
    base: Path, exported: Path, train: list[Sample], validation: list[Sample]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    prompt = read_manifest(exported).prompt
    samples = [*train, *validation, Sample(None, "no prompt"), Sample("x " * 60, "long " * 30), Sample("empty", "")]
    for limit in (24, 256):
        theirs = tuning_batches.encode(tokenizer, samples, limit)
        ours = Tokens(exported, prompt).encode(samples, limit)
        assert [(e.tokens, e.start) for e in ours] == [(e.tokens, e.start) for e in theirs]
    for seed, size, accumulated in ((0, 4, 2), (7, 3, 1)):
        named = {"batch_size": size, "accumulation_steps": accumulated, "seed": seed}
        plain = tuning_batches.BatchPlan(theirs, **named, pad_id=prompt.pad)
        plan = Plan(ours, **named, pad=prompt.pad)
        for step in range(3 * plan.steps_per_epoch):
            for one, other in zip(plan.step(step), plain.step(step), strict=True):
                for name in ("input_ids", "rows", "targets"):
                    assert getattr(one, name).tolist() == getattr(other, name).tolist()
            assert plan.samples_seen(step) == plain.samples_seen(step)
    held = tuning_batches.evaluation_batches(theirs, 5, prompt.pad)
    assert [b.input_ids.tolist() for b in evaluation_batches(ours, 5, prompt.pad)] == [
        b.input_ids.tolist() for b in held
    ]


def test_another_adapter_of_the_base_is_a_start(
    base: Path,
    exported: Path,
    train: list[Sample],
    validation: list[Sample],
    settings: TuningSettings,
    tmp_path: Path,
) -> None:
    first = train_exported(exported, train, validation, tmp_path / "first", settings, threads=1)
    assert first.best_loss is not None and first.initial_loss is not None
    second = train_exported(
        exported, train, validation, tmp_path / "second", settings, adapter=tmp_path / "first", threads=1
    )
    assert second.initial_loss == pytest.approx(first.best_loss, abs=1e-6)
    plain = tune(
        ModelReference(str(base), str(tmp_path / "first")),
        train,
        validation,
        tmp_path / "plain",
        settings,
        device="cpu",
    )
    assert second.train_losses == pytest.approx(plain.train_losses, abs=1e-5)
    assert inspect_adapter(tmp_path / "first").digest in (tmp_path / "second" / "README.md").read_text("utf-8")
