"""The whole device story in one call: explain oneself, select, start there or from the base, tune, save.

Personal data goes into arithmetic on this device and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xpert.data import split_samples
from xpert.explainer import PERSON_SAMPLES, Explainer
from xpert.models.generation import Progress
from xpert.models.loading import adapted
from xpert.models.reference import ModelReference
from xpert.pool.publishing import Pool
from xpert.records import Sample, Selection
from xpert.selecting import select
from xpert.tuning import TuningResult, TuningSettings, TuningStep, tune, validation_loss


@dataclass(frozen=True)
class Personalized:
    """What became of a person's data.

    Attributes:
        selection: where to start, and why.
        start: name of the pLLM that tuning started from; None: the base.
        base_loss: validation loss of the base, before tuning.
        start_loss: validation loss of the start, before tuning.
        tuning: the run.
        seconds: of everything.
    """

    selection: Selection
    start: str | None
    base_loss: float
    start_loss: float
    tuning: TuningResult
    seconds: float


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
    """Select, check, tune, save.

    The chosen pLLM is checked against the base on the person's own validation samples, so that a poor
    match never hurts: where the base has the lower loss, tuning starts from the base.

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
    base = explainer.prober.base
    base_loss = validation_loss(base, held, max_length_tokens=settings.max_length_tokens)
    wanted = selection.choice if start is None else (None if start == "base" else start)
    start_loss, adapter = base_loss, None
    if wanted is not None:
        adapter = pool.adapter_path(wanted)
        with adapted(base, adapter) as candidate:
            start_loss = validation_loss(candidate, held, max_length_tokens=settings.max_length_tokens)
        if start is None and start_loss >= base_loss:
            wanted, adapter, start_loss = None, None, base_loss
    reference = ModelReference(str(base.folder), None if adapter is None else str(adapter))
    result = tune(reference, train, held, out, settings, on_step=on_step, device=str(base.device), fresh=fresh)
    return Personalized(selection, wanted, base_loss, start_loss, result, time.perf_counter() - began)
