"""When nothing fits: the few models of a pool whose sum comes nearest to a person or to a wish, merged and measured.

Knows explanations, pools and folders; the same for language and for image models.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from xpert.explainer import Explainer, PictureExplainer
from xpert.merging.cards import Merged
from xpert.merging.feedback import ROUNDS, measure_in_folder, settle
from xpert.merging.images import merge_image_adapters
from xpert.merging.merge import merge_models
from xpert.merging.parents import check_weights
from xpert.merging.weights import MOST_PARENTS, combine_at, propose
from xpert.merging.wishes import MOST_WISHED, grant, predicted
from xpert.models.folders import check_free
from xpert.models.generation import Progress
from xpert.models.pipelines import resolve_pipeline
from xpert.models.reference import public_name
from xpert.pool.pool import Pool
from xpert.records import Combination, Explanation, MeasuredCombination


@dataclass(frozen=True)
class MergeSettings:
    """How models are merged; the names are those of `merging.merge.merge_models`.

    Args:
        method: name in `merging.methods.METHODS`.
        density: share of each difference that is kept, where the method has one.
        rank: of the resulting LoRA; None: the sum of the parents' ranks.
        seed: of what is dropped at random.
    """

    method: str = "task-arithmetic"
    density: float = 1.0
    rank: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class MergeReport:
    """A merge that was written, and what is known of it.

    Attributes:
        done: what was written.
        plan: models and weights that were found; None where they were given.
        predicted: word -> coefficient, strongest first, from the parents' explanations; None where one has none.
        measured: the explanation of the result; None where nobody asked for it.
        distance: from the person to the result, measured; None without a person or a measurement.
    """

    done: Merged
    plan: Combination | None = None
    predicted: dict[str, float] | None = None
    measured: Explanation | None = None
    distance: float | None = None


def plan_merge(
    person: Explanation,
    pool: Pool,
    *,
    most: int | None = None,
    fixed: Mapping[str, float | None] | None = None,
    forbidden: Collection[str] = (),
    wished: bool = False,
    share: float = 1.0,
) -> Combination:
    """Models and weights for a person, as `merging.weights.propose` finds them; for a wish, as `merging.wishes.grant`.

    Nothing is loaded. A person's point that was moved by a wish is wished, too.

    Args:
        person: cu; or a wish.
        pool: to choose from.
        most: models at most; None: 3 for a person, 4 for a wish.
        fixed, forbidden: as `combine`.
        wished: whether it is a wish.
        share: of `propose`; of language models `TEXT_SHARE`.

    Raises:
        SettingsError: `most` is below 1, or what `combine` refuses.
    """
    if wished:
        return grant(person, pool.list(), most=MOST_WISHED if most is None else most, fixed=fixed, forbidden=forbidden)
    most = MOST_PARENTS if most is None else most
    return propose(person, pool.list(), share=share, most=most, fixed=fixed, forbidden=forbidden)


def write_merge(
    weights: Mapping[str, float],
    pool: Pool,
    explainer: Explainer | PictureExplainer,
    out: Path,
    settings: MergeSettings | None = None,
    *,
    on_progress: Progress | None = None,
) -> Merged:
    """Merge models of a pool into a folder.

    Args:
        weights: name in the pool -> weight.
        pool: of language or of image models.
        explainer: of that pool; its base is the models' base.
        out: folder to write; must be free.
        settings: how.
        on_progress: called with ("merging", done, total).

    Raises:
        SettingsError, ModelError, PoolError: as merging and the pool do.
    """
    parents = {name: (pool.adapter_path(name), weight) for name, weight in weights.items()}
    check_weights(parents)
    how = vars(settings or MergeSettings())
    called = public_name(next(record.base_name for record in pool.list() if record.name in weights))
    if isinstance(explainer, PictureExplainer):
        base = resolve_pipeline(explainer.prober.base.model, explainer.prober.base.revision)
        return merge_image_adapters(parents, base, out, base_name=called, on_progress=on_progress, **how)
    return merge_models(parents, explainer.prober.base.folder, out, base_name=called, on_progress=on_progress, **how)


def settle_merge(
    plan: Combination,
    person: Explanation,
    pool: Pool,
    explainer: Explainer | PictureExplainer,
    settings: MergeSettings | None = None,
    *,
    wished: bool = False,
    fixed: Mapping[str, float | None] | None = None,
    rounds: int = ROUNDS,
    on_progress: Progress | None = None,
) -> MeasuredCombination:
    """Make a planned merge, explain it, and correct its weights by what it turned out to be.

    Args:
        plan: of `plan_merge`, with at least one model.
        person: cu, or a wish.
        pool: that the plan was made from.
        explainer: of that pool.
        settings: how models are merged.
        wished: whether that is a wish, or was moved by one.
        fixed: a model that has a weight here keeps it.
        rounds: corrections, at most; each merges and explains once more.
        on_progress: called with (stage, done, total).

    Raises:
        SettingsError: the plan names no models.
    """

    def write(weights: Mapping[str, float], folder: Path) -> Merged:
        return write_merge(weights, pool, explainer, folder, settings, on_progress=on_progress)

    def explain(folder: Path) -> Explanation:
        return explainer.explain_adapter(folder, on_progress=on_progress)

    measure, poles = measure_in_folder(write, explain), explainer.space.opposites
    return settle(plan, person, pool.list(), measure, wished=wished, opposites=poles, fixed=fixed, rounds=rounds)


def make_merge(
    plan: Combination,
    person: Explanation,
    pool: Pool,
    explainer: Explainer | PictureExplainer,
    out: Path,
    settings: MergeSettings | None = None,
    *,
    explained: bool = True,
    wished: bool = False,
    fixed: Mapping[str, float | None] | None = None,
    rounds: int = ROUNDS,
    on_progress: Progress | None = None,
) -> MergeReport:
    """Settle a planned merge, and write it.

    Args:
        plan, person, pool, explainer, settings, wished, fixed, rounds, on_progress: as `settle_merge`.
        out: folder to write; must be free.
        explained: False: as planned, without measuring.
    """
    check_free(out)
    settled = None
    if explained:
        settled = settle_merge(
            plan,
            person,
            pool,
            explainer,
            settings,
            wished=wished,
            fixed=fixed,
            rounds=rounds,
            on_progress=on_progress,
        )
        plan = settled.plan
    return MergeReport(
        done=write_merge(plan.weights, pool, explainer, out, settings, on_progress=on_progress),
        plan=plan,
        predicted=predicted(plan, explainer.space),
        measured=None if settled is None else settled.measured,
        distance=None if settled is None else settled.distance,
    )


def explain_given(
    done: Merged,
    pool: Pool,
    explainer: Explainer | PictureExplainer,
    *,
    known: bool,
    on_progress: Progress | None = None,
) -> MergeReport:
    """Explain a merge of given weights, beside what its parents predict. Where that fails, the merge is gone too.

    Args:
        done: what was written.
        pool: whose space explains it.
        explainer: of that pool.
        known: whether the parents are the pool's own, so that something can be predicted if they are explained.
        on_progress: called with (stage, done, total).
    """
    try:
        measured = explainer.explain_adapter(done.out, on_progress=on_progress)
    except BaseException:
        shutil.rmtree(done.out, ignore_errors=True)
        raise
    spaces = {r.explanation.digests.space for r in pool.list() if r.name in done.weights and r.explanation is not None}
    bare = [r for r in pool.list() if r.name in done.weights and r.explanation is None]
    words = None
    if known and not bare and spaces == {explainer.space.digest}:
        words = predicted(combine_at(done.weights, measured, pool.list()), explainer.space)
    return MergeReport(done, predicted=words, measured=measured)
