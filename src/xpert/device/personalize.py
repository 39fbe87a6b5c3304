"""The whole device story in one call: explain oneself, select or merge, start there or from the base, tune, save.

Personal data goes into arithmetic on this device and nowhere else.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xpert.data import split_samples
from xpert.device.merging import plan_merge, write_merge
from xpert.explainer import PERSON_SAMPLES, Explainer
from xpert.merging.weights import TEXT_SHARE
from xpert.models.generation import Progress
from xpert.models.loading import LoadedModel, adapted
from xpert.models.reference import ModelReference
from xpert.pool.pool import Pool
from xpert.records import Combination, Sample, Selection
from xpert.selecting import select
from xpert.tuning import TuningResult, TuningSettings, TuningStep, tune, validation_loss

MERGE = "merge"


@dataclass(frozen=True)
class Personalized:
    """What became of a person's data.

    Attributes:
        selection: the nearest pLLM, and why.
        merge: models and weights whose sum is predicted to lie nearer than any one; None: no sum of several does.
        start: name of the pLLM that tuning started from; "merge": of the merge; None: the base.
        losses: validation loss of every start that was tried, before tuning: "base", pLLM, "merge".
        tuning: the run.
        seconds: of everything.
    """

    selection: Selection
    merge: Combination | None
    start: str | None
    losses: dict[str, float]
    tuning: TuningResult
    seconds: float


@dataclass(frozen=True)
class _Start:
    """Where tuning may begin: a name, None for the base, with its adapter folder."""

    name: str | None
    adapter: Path | None


def select_for(
    samples: Sequence[Sample],
    pool: Pool,
    explainer: Explainer,
    *,
    limit: int = PERSON_SAMPLES,
    on_progress: Progress | None = None,
) -> Selection:
    """Explain a person's samples and choose from a pool; no candidate is loaded or run."""
    person, reference = explainer.explain_samples(samples, limit=limit, on_progress=on_progress)
    return select(person, pool.list(), reference=reference)


def personalize(
    samples: Sequence[Sample],
    pool: Pool,
    explainer: Explainer,
    out: Path,
    *,
    settings: TuningSettings | None = None,
    validation: float | int = 0.2,
    start: str | None = None,
    limit: int = PERSON_SAMPLES,
    fresh: bool = False,
    on_progress: Progress | None = None,
    on_step: Callable[[TuningStep], None] | None = None,
) -> Personalized:
    """Select, merge where nothing fits alone, check, tune, save.

    Where several pLLMs together lie nearer than any one, by more than the noise, they are merged. What was found is
    checked against the base on the person's own validation samples: tuning starts where the loss is lowest.

    Args:
        samples: the person's data.
        pool: where to choose from.
        explainer: of that pool.
        out: adapter folder to write; must not exist.
        settings: of the tuning; None: the defaults.
        validation: share or number of samples that are kept for validation.
        start: start from this pLLM whatever the selection says; "base": from the base.
        limit: samples that are explained.
        fresh: throw away an unfinished run of `out` first.
        on_progress: called with (stage, done, total).
        on_step: called at every step of the tuning.

    Raises:
        DataError, SettingsError, ModelError, SpaceError, PoolError: as the parts do.
    """
    began = time.perf_counter()
    settings = settings or TuningSettings()
    train, held = split_samples(samples, validation=validation, seed=settings.seed)
    selection = select_for(samples, pool, explainer, limit=limit, on_progress=on_progress)
    plan = _several(plan_merge(selection.person, pool, share=TEXT_SHARE)) if start is None else None
    base = explainer.prober.base
    with tempfile.TemporaryDirectory(prefix="xpert-merge-") as room:
        merged = Path(room) / MERGE
        if plan is not None:
            write_merge(plan.weights, pool, explainer, merged, on_progress=on_progress)
        tried = [_Start(None, None)]
        wanted = selection.choice if start is None else (None if start == "base" else start)
        if wanted is not None:
            tried.append(_Start(wanted, pool.adapter_path(wanted)))
        if plan is not None:
            tried.append(_Start(MERGE, merged))
        losses = {one.name or "base": _loss(base, one, held, settings) for one in tried}
        best = tried[-1] if start is not None else min(tried, key=lambda one: losses[one.name or "base"])
        reference = ModelReference(str(base.folder), None if best.adapter is None else str(best.adapter))
        result = tune(reference, train, held, out, settings, on_step=on_step, device=str(base.device), fresh=fresh)
    return Personalized(selection, plan, best.name, losses, result, time.perf_counter() - began)


def _several(plan: Combination) -> Combination | None:
    return plan if len(plan.weights) > 1 else None


def _loss(base: LoadedModel, start: _Start, held: Sequence[Sample], settings: TuningSettings) -> float:
    if start.adapter is None:
        return validation_loss(base, held, max_length_tokens=settings.max_length_tokens)
    with adapted(base, start.adapter) as candidate:
        return validation_loss(candidate, held, max_length_tokens=settings.max_length_tokens)
