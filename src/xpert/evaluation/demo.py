"""The demo: one sample person, one choice, and two tuning runs to the same validation loss.

Knows the embedded models and people; prints nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from xpert.data import read_samples, sample_person, split_samples
from xpert.device.personalize import select_for
from xpert.embedded import EMBEDDED_POOL, PEOPLE, people
from xpert.models.generation import Progress
from xpert.models.reference import ModelReference
from xpert.opening import open_explainer
from xpert.pool import open_pool
from xpert.records import PoolRecord, Record, Selection
from xpert.tuning import TuningResult, TuningSettings, TuningStep, tune

SETTINGS = TuningSettings(learning_rate=1e-3, max_steps=120, patience=4, evaluate_every=4, seed=0)
VALIDATION = 20


class DemoRun(Record):
    """One tuning run of the demo.

    Attributes:
        start: name of the pLLM it started from; None: the base.
        steps: until the target loss.
        seconds: of wall time, loading and evaluation included.
        samples: training samples read until then, repetitions counted once.
        losses: (step, validation loss) pairs.
    """

    start: str | None
    steps: int
    seconds: float
    samples: int
    losses: tuple[tuple[int, float], ...]


class DemoResult(Record):
    """All that the demo shows.

    Attributes:
        person: name of the sample person; `title` is one line about them.
        selected, expected: names of pLLMs; None: start from the base.
        pool: the pLLMs with their explanations.
        selection: the choice and why, with the person's explanation.
        target_loss: the lowest validation loss that tuning from scratch reached.
        scratch, warm: the two runs; `warm` is None where nothing was selected.
        steps_from_scratch, steps_from_selected: until the target loss.
        seconds: of the whole demo.
    """

    person: str
    title: str
    selected: str | None
    expected: str | None
    pool: tuple[PoolRecord, ...]
    selection: Selection
    target_loss: float
    scratch: DemoRun
    warm: DemoRun | None
    steps_from_scratch: int
    steps_from_selected: int
    seconds: float
    modality: Literal["text"] = "text"


def run_demo(
    person: str = "wen",
    *,
    on_progress: Progress | None = None,
    on_step: Callable[[str, TuningStep], None] | None = None,
) -> DemoResult:
    """Explain a sample person, select from the embedded pool, tune twice to the same loss.

    Args:
        person: one of the sample people.
        on_progress: called with (stage, done, total).
        on_step: called with ("from scratch" or "from <pLLM>", step).

    Raises:
        SettingsError: no such sample person.
    """
    began = time.perf_counter()
    told = people()[sample_person(person)]
    samples = read_samples(PEOPLE / f"{person}.jsonl")
    pool = open_pool(EMBEDDED_POOL, read_only=True)
    explainer = open_explainer(pool)
    selection = select_for(samples, pool, explainer, on_progress=on_progress)
    train, held = split_samples(samples, validation=VALIDATION, seed=SETTINGS.seed)
    base = str(explainer.prober.base.folder)

    def run(start: str | None, settings: TuningSettings, folder: Path) -> TuningResult:
        label = f"from {start or 'scratch'}"
        adapter = None if start is None else str(pool.adapter_path(start))
        report = (lambda step: on_step(label, step)) if on_step else None
        return tune(ModelReference(base, adapter), train, held, folder, settings, on_step=report)

    with tempfile.TemporaryDirectory(prefix="xpert-demo-") as name:
        scratch = run(None, SETTINGS, Path(name) / "scratch")
        target = scratch.best_loss
        assert target is not None  # SETTINGS evaluate
        warm = None
        if selection.choice is not None:
            aimed = SETTINGS.model_copy(update={"target_validation_loss": target, "patience": None})
            warm = run(selection.choice, aimed, Path(name) / "warm")
    shown = _shown(None, scratch, scratch.best_step, len(train))
    return DemoResult(
        person=person,
        title=told["title"],
        selected=selection.choice,
        expected=told["expected"],
        pool=tuple(pool.list()),
        selection=selection,
        target_loss=target,
        scratch=shown,
        warm=_shown(selection.choice, warm, warm.steps, len(train)) if warm else None,
        steps_from_scratch=scratch.best_step,
        steps_from_selected=warm.steps if warm else scratch.best_step,
        seconds=time.perf_counter() - began,
    )


def _shown(start: str | None, result: TuningResult, steps: int, available: int) -> DemoRun:
    losses = tuple((step, loss) for step, loss in result.validation_losses if step <= steps)
    return DemoRun(
        start=start,
        steps=steps,
        seconds=result.seconds * steps / max(result.steps, 1) if steps < result.steps else result.seconds,
        samples=min(available, steps * SETTINGS.batch_size * SETTINGS.accumulation_steps),
        losses=losses,
    )
