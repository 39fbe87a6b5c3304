"""What `xpert image merge` is told: models with weights, or pictures that choose them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xpert.cli.image_sources import PersonOptions, Progress, image_base_under, image_pool, person_pictures
from xpert.cli.sources import base_of, reading
from xpert.embedded import EMBEDDED_PIPELINES
from xpert.errors import PoolError, SettingsError

if TYPE_CHECKING:
    from xpert.pool import Pool


@dataclass(frozen=True)
class MergePlan:
    """What is merged.

    Attributes:
        parents: name -> adapter folder and weight.
        base: name or folder of the base pipeline, as it was given or the pool has it.
        folder: of that pipeline.
    """

    parents: dict[str, tuple[Path, float]]
    base: str
    folder: Path

    @property
    def base_name(self) -> str:
        """What a card may call the base: a hub name, or its folder's last part, since paths name their owners."""
        place = Path(self.base).expanduser()
        return place.resolve().name if self.base not in EMBEDDED_PIPELINES and place.is_dir() else self.base


def given_plan(parents: Sequence[str], pool: Path | None, base: str | None) -> MergePlan:
    """The models that were named with weights: folders, and names in the pool.

    Raises:
        SettingsError: a weight that is no number, a model that is given twice, or a name that is a folder too.
        PoolError: no such pool, or no such model in it.
    """
    from xpert.models.pipelines import resolve_pipeline

    weights: dict[str, float] = {}
    for text in parents:
        name, weight = _weighed(text)
        if name in weights:
            raise SettingsError(f"{name!r} is given twice: write it once, with one weight")
        weights[name] = weight
    with reading(image_pool(pool)) as opened:
        known = {record.name for record in opened.list()}
        folders = {name: _parent(name, opened, known) for name in weights}
        from_pool = [name for name in weights if name in known]
        if base is None and not from_pool and pool is None:
            base = next((named for folder in folders.values() if (named := image_base_under(folder))), None)
        base = base or base_of(opened, *from_pool[:1])
    if base is None:
        raise SettingsError("nothing says what the base of these models is: give --base PIPELINE")
    planned: dict[str, tuple[Path, float]] = {}
    for name, folder in folders.items():
        twin = next((key for key, (other, _) in planned.items() if other.resolve() == folder.resolve()), None)
        if twin is not None:
            raise SettingsError(f"{name!r} and {twin!r} are one model: write it once, with one weight")
        planned[_free_name(name if name in known else folder.resolve().name, {*planned, *from_pool} - {name})] = (
            folder,
            weights[name],
        )
    return MergePlan(planned, base, resolve_pipeline(base))


def chosen_plan(
    pictures: str, options: PersonOptions, most: int, pool: Path | None, base: str | None, on_progress: Progress
) -> MergePlan:
    """The models of the pool, with weights, that come nearest to a person's pictures.

    Raises:
        SettingsError: nothing lies nearer than the base.
        DataError: the pictures cannot be read.
    """
    from xpert.device.pictures import select_for_pictures
    from xpert.merging.weights import combine
    from xpert.models.pipelines import resolve_pipeline
    from xpert.opening import open_picture_explainer

    place = image_pool(pool)
    with reading(place) as opened:
        name = base or base_of(opened)
        if name is None:
            raise PoolError(f"pool {place} is empty: add models with `xpert pool add`")
        folder = resolve_pipeline(name)
        explainer = open_picture_explainer(place, device=options.device)
        with person_pictures(pictures, options, on_progress) as own:
            selection = select_for_pictures(own, opened, explainer, on_progress=on_progress)
        weights = combine(selection.person, opened.list(), most=most).weights
        if not weights:
            raise SettingsError(f"nothing in {place} lies nearer to these pictures than the base: start from the base")
        parents = {parent: (opened.adapter_path(parent), weight) for parent, weight in weights.items()}
    return MergePlan(parents, name, folder)


def _parent(name: str, opened: Pool, known: set[str]) -> Path:
    """The adapter folder of a named parent."""
    from xpert.models.image_adapters import is_image_adapter

    folder = Path(name).expanduser()
    if not is_image_adapter(folder):
        return opened.adapter_path(name)
    if name in known:
        raise SettingsError(
            f"{name!r} is a model of the pool and a folder here, too: write ./{name} for the folder, or run this "
            "elsewhere for the model of the pool"
        )
    return folder


def _free_name(name: str, taken: set[str]) -> str:
    """A name that is not taken: red, red-2, red-3."""
    return next(n for n in (name, *(f"{name}-{k}" for k in range(2, len(taken) + 3))) if n not in taken)


def _weighed(text: str) -> tuple[str, float]:
    name, mark, number = text.rpartition("=")
    try:
        if not (name and mark):
            raise ValueError
        return name, float(number)
    except ValueError:
        raise SettingsError(f"{text!r} names no model with a weight: write NAME=WEIGHT, such as red=0.6") from None
