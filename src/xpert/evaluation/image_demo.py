"""The demo of image models: a pool explained, two people's pictures, one choice, one merge.

Knows the embedded image models and people; prints nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xpert.data.pictures import open_pictures
from xpert.device.merging import plan_merge, settle_merge, write_merge
from xpert.device.pictures import picture_files
from xpert.embedded import EMBEDDED_IMAGE_POOL, PICTURE_PEOPLE
from xpert.errors import SettingsError
from xpert.explainer import PictureExplainer
from xpert.models.generation import Progress
from xpert.opening import open_picture_explainer
from xpert.pool import Pool, open_pool
from xpert.records import Combination, Explanation, PoolRecord, Record, Selection
from xpert.reporting.gallery import gallery
from xpert.reporting.markup import Markup
from xpert.selecting import select

SINGLE, MIXED = "ada", "iris"
EXPLAINED = ("golden", "dark", "striped", "noisy")
SHOWN_PAIRS = 6


@dataclass(frozen=True)
class Shown:
    """An explanation, and the pairs of pictures that it was read from as a page shows them."""

    name: str
    explanation: Explanation
    pictures: Markup


class ImageDemoResult(Record):
    """All that the demo found out.

    Attributes:
        pool: the models with their explanations, as the pool keeps them.
        explained: of some of them, explained anew on this machine.
        single: the selection for a person of one style.
        mixed: the selection for a person of two.
        merge: the models and weights for the second, corrected by what their merge turned out to be.
        merged: the explanation of their merge, as measured; None where nothing was merged.
        seconds: of the whole demo.
    """

    pool: tuple[PoolRecord, ...]
    explained: dict[str, Explanation]
    single: Selection
    mixed: Selection
    merge: Combination
    merged: Explanation | None
    seconds: float


def picture_people() -> list[str]:
    """Names of the sample people, sorted."""
    return sorted(folder.name for folder in PICTURE_PEOPLE.iterdir() if folder.is_dir())


def run_image_demo(
    out: Path,
    *,
    people: tuple[str, str] = (SINGLE, MIXED),
    explained: tuple[str, ...] = EXPLAINED,
    on_progress: Progress | None = None,
) -> tuple[ImageDemoResult, list[Shown]]:
    """Explain some of the pool anew, select for a person of one style, select and merge for one of two.

    Args:
        out: folder for the merged adapter; must be free.
        people: names of two sample people.
        explained: names of models that are explained anew.
        on_progress: called with (stage, done, total).

    Returns:
        The result, and what a page can show of it: models, the merge (named "merged"), the two people.

    Raises:
        SettingsError: no such sample person, or `out` is taken.
    """
    began = time.perf_counter()
    unknown = [name for name in people if name not in picture_people()]
    if unknown:
        raise SettingsError(f"no sample person {unknown[0]!r}: choose from {', '.join(picture_people())}")
    with open_pool(EMBEDDED_IMAGE_POOL, read_only=True) as pool:
        explainer = open_picture_explainer(pool)
        records = pool.list()
        shown = _models(pool, explainer, explained, on_progress)
        again = {one.name: one.explanation for one in shown}
        single, first = _person(people[0], explainer, records, on_progress)
        mixed, second = _person(people[1], explainer, records, on_progress)
        plan, merged = plan_merge(mixed.person, pool), None
        if plan.weights:
            settled = settle_merge(plan, mixed.person, pool, explainer, on_progress=on_progress)
            plan, merged = settled.plan, settled.measured
            write_merge(plan.weights, pool, explainer, out, on_progress=on_progress)
            pairs = explainer.prober.adapter_pairs(out)
            shown.append(Shown("merged", merged, gallery(pairs, labels=("base", "merged"), most=SHOWN_PAIRS)))
    result = ImageDemoResult(
        pool=tuple(records),
        explained=again,
        single=single,
        mixed=mixed,
        merge=plan,
        merged=merged,
        seconds=time.perf_counter() - began,
    )
    return result, [*shown, first, second]


def _models(pool: Pool, explainer: PictureExplainer, names: Sequence[str], on_progress: Progress | None) -> list[Shown]:
    shown = []
    for number, name in enumerate(names, 1):
        adapter = pool.adapter_path(name)
        explanation = explainer.explain_adapter(adapter, on_progress=on_progress)
        pairs = explainer.prober.adapter_pairs(adapter)
        shown.append(Shown(name, explanation, gallery(pairs, labels=("base", name), most=SHOWN_PAIRS)))
        if on_progress is not None:
            on_progress("explaining models", number, len(names))
    return shown


def _person(
    name: str, explainer: PictureExplainer, records: Sequence[PoolRecord], on_progress: Progress | None
) -> tuple[Selection, Shown]:
    opened = open_pictures(str(PICTURE_PEOPLE / name))
    with picture_files(opened) as pictures:
        explanation = explainer.explain_pictures(pictures, on_progress=on_progress)
        pairs = explainer.person_pairs(pictures)
        shown = Shown(name, explanation, gallery(pairs, labels=("base", name), most=SHOWN_PAIRS))
    return select(explanation, records), shown
