"""The image models that `xpert image merge` names, or that a person's pictures choose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xpert.cli.bases import image_base_for
from xpert.cli.image_sources import PersonOptions, image_pool, person_pictures
from xpert.cli.merge_plans import Family, MergePlan, given_plan, pool_base
from xpert.cli.sources import Progress, reading
from xpert.errors import SettingsError

if TYPE_CHECKING:
    from xpert.device.merging import MergeReport


def named_image_models(parents: Sequence[str], pool: Path | None, base: str | None) -> MergePlan:
    """The models that were named with weights; raises as `given_plan`."""
    from xpert.models.image_adapters import is_image_adapter
    from xpert.models.pipelines import resolve_pipeline

    family = Family(is_image_adapter, lambda folder: image_base_for(folder, None), resolve_pipeline)
    return given_plan(parents, image_pool(pool), family, base, pool_given=pool is not None)


def merge_for_pictures(
    pictures: str,
    out: Path,
    options: PersonOptions,
    most: int | None,
    rounds: int | None,
    pool: Path | None,
    on_progress: Progress,
) -> tuple[MergeReport, str]:
    """Merge the models of a pool that come nearest to a person's pictures; also the pool's base.

    Raises:
        SettingsError: nothing lies nearer than the base.
        DataError: the pictures cannot be read.
    """
    from xpert.device.merging import make_merge, plan_merge
    from xpert.merging.feedback import ROUNDS
    from xpert.opening import open_picture_explainer

    place = image_pool(pool)
    with reading(place) as opened:
        base = pool_base(opened, place)
        explainer = open_picture_explainer(opened, device=options.device)
        with person_pictures(pictures, options, on_progress) as own:
            person = explainer.explain_pictures(own, on_progress=on_progress)
        plan = plan_merge(person, opened, most=most)
        if not plan.weights:
            raise SettingsError(f"nothing in {place} lies nearer to these pictures than the base: start from the base")
        times = ROUNDS if rounds is None else rounds
        report = make_merge(plan, person, opened, explainer, out, rounds=times, on_progress=on_progress)
    return report, base
