"""A run that was cut off goes on, step for step the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from xpert.errors import DamagedModelError, SettingsError
from xpert.models.reference import ModelReference
from xpert.records import Sample
from xpert.tuning import TuningResult, TuningSettings, TuningStep, tune
from xpert.tuning.checkpoint import no_interrupt

Samples = list[Sample]


def changed(settings: TuningSettings, **values: Any) -> TuningSettings:
    return TuningSettings(**(settings.model_dump() | values))


@pytest.fixture
def noisy(settings: TuningSettings) -> TuningSettings:
    return changed(settings, dropout=0.3, schedule="cosine", evaluate_every=2, weight_decay=0.01)


@pytest.fixture(scope="module")
def whole(
    base: ModelReference, train: Samples, validation: Samples, tmp_path_factory: pytest.TempPathFactory
) -> TuningResult:
    settings = TuningSettings(
        max_steps=8, batch_size=4, learning_rate=1e-2, evaluate_every=2, rank=4, dropout=0.3, schedule="cosine",
        weight_decay=0.01,
    )  # fmt: skip
    return tune(base, train, validation, tmp_path_factory.mktemp("whole") / "mine", settings)


def same(one: TuningResult, other: TuningResult) -> bool:
    weights = [load_file(result.out / "adapter_model.safetensors") for result in (one, other)]
    return (
        one.train_losses == other.train_losses
        and one.validation_losses == other.validation_losses
        and one.best_step == other.best_step
        and weights[0].keys() == weights[1].keys()
        and all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    )


def stop_at(step: int, seen: list[int] | None = None) -> Any:
    def on_step(news: TuningStep) -> None:
        if seen is not None:
            seen.append(news.step)
        if news.step == step:
            torch.rand(100)  # a caller who uses random numbers changes nothing
            raise KeyboardInterrupt

    return on_step


@pytest.mark.parametrize("step", [0, 4, 5, 8])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    step: int, whole: TuningResult, base: ModelReference, train: Samples, validation: Samples,
    noisy: TuningSettings, out: Path,
) -> None:  # fmt: skip
    first: list[int] = []
    then: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        tune(base, train, validation, out, noisy, on_step=stop_at(step, first))
    assert [path.name for path in out.parent.iterdir()] == ["mine.partial"]
    result = tune(base, train, validation, out, noisy, on_step=stop_at(-1, then))
    assert first + then == list(range(9))
    assert same(result, whole)
    assert [path.name for path in out.parent.iterdir()] == ["mine"]


def test_a_run_may_be_interrupted_again_and_again(
    whole: TuningResult, base: ModelReference, train: Samples, validation: Samples, noisy: TuningSettings, out: Path
) -> None:
    for step in (1, 3, 6):
        with pytest.raises(KeyboardInterrupt):
            tune(base, train, validation, out, noisy, on_step=stop_at(step))
    assert same(tune(base, train, validation, out, noisy), whole)


@pytest.mark.parametrize("moment", ["forward", "update"])
def test_ctrl_c_within_a_step_leaves_a_whole_step(
    moment: str,
    whole: TuningResult,
    base: ModelReference,
    train: Samples,
    validation: Samples,
    noisy: TuningSettings,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner: Any = torch.nn.functional if moment == "forward" else torch.optim.AdamW
    name = "cross_entropy" if moment == "forward" else "step"
    real, calls = getattr(owner, name), []

    def press_ctrl_c(*args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return real(*args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            tune(base, train, validation, out, changed(noisy, save_every=100))
    assert (out.with_name("mine.partial") / "checkpoint.safetensors").is_file()
    assert same(tune(base, train, validation, out, changed(noisy, save_every=100)), whole)


def test_ctrl_c_while_the_adapter_is_written_costs_no_step(
    whole: TuningResult,
    base: ModelReference,
    train: Samples,
    validation: Samples,
    noisy: TuningSettings,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = PeftModel.save_pretrained

    def press_ctrl_c(*args: Any, **more: Any) -> None:
        real(*args, **more)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(PeftModel, "save_pretrained", press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            tune(base, train, validation, out, noisy)
    assert [path.name for path in out.parent.iterdir()] == ["mine.partial"]
    news: list[int] = []
    result = tune(base, train, validation, out, noisy, on_step=lambda step: news.append(step.step))
    assert news in ([], [8]) and same(result, whole)


_KILLED = """
import os, signal, sys
from pathlib import Path
from xpert.models.reference import ModelReference
from xpert.records import Sample
from xpert.tuning import TuningSettings, tune

base, out, settings, *texts = sys.argv[1:]
rows = [Sample(*text.split("|")) for text in texts]

def on_step(news):
    if news.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

chosen = TuningSettings.model_validate_json(settings)
tune(ModelReference(base), rows[:30], rows[30:], Path(out), chosen, on_step=on_step)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_run_goes_on_from_its_last_checkpoint(
    whole: TuningResult, base: ModelReference, train: Samples, validation: Samples, noisy: TuningSettings, out: Path
) -> None:
    texts = [f"{sample.prompt}|{sample.response}" for sample in (*train, *validation)]
    arguments = [sys.executable, "-c", _KILLED, base.model, str(out), noisy.model_dump_json(), *texts]
    assert subprocess.run(arguments, capture_output=True).returncode == -signal.SIGKILL
    news: list[int] = []
    result = tune(base, train, validation, out, noisy, on_step=lambda step: news.append(step.step))
    assert news == [4, 5, 6, 7, 8]
    assert same(result, whole)


@pytest.mark.parametrize("what", ["settings", "data"])
def test_an_unfinished_run_of_something_else_is_not_gone_on_with(
    what: str, base: ModelReference, train: Samples, validation: Samples, noisy: TuningSettings, out: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(base, train, validation, out, noisy, on_step=stop_at(2))
    other = changed(noisy, seed=9) if what == "settings" else noisy
    rows = train[1:] if what == "data" else train
    with pytest.raises(SettingsError, match=f"mine.partial is an unfinished run with other {what}: .*fresh=True"):
        tune(base, rows, validation, out, other)
    news: list[int] = []
    tune(base, rows, validation, out, other, fresh=True, on_step=lambda step: news.append(step.step))
    assert news[0] == 0 and [path.name for path in out.parent.iterdir()] == ["mine"]


def test_how_often_is_saved_may_change(
    whole: TuningResult, base: ModelReference, train: Samples, validation: Samples, noisy: TuningSettings, out: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(base, train, validation, out, noisy, on_step=stop_at(2))
    assert same(tune(base, train, validation, out, changed(noisy, save_every=1)), whole)


def test_a_damaged_checkpoint_says_what_to_do(
    base: ModelReference, train: Samples, validation: Samples, noisy: TuningSettings, out: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(base, train, validation, out, noisy, on_step=stop_at(2))
    file = out.with_name("mine.partial") / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DamagedModelError, match="fresh=True"):
        tune(base, train, validation, out, noisy)


def test_ctrl_c_waits_for_the_end_of_a_protected_block() -> None:
    done = False
    with pytest.raises(KeyboardInterrupt), no_interrupt():
        signal.raise_signal(signal.SIGINT)
        done = True
    assert done
