"""What `xpert merge` and `xpert image merge` are told: models with weights, words with numbers.

Knows names, numbers and folders; loads no model, and asks the explainer that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xpert.cli.sources import Progress, base_of, reading
from xpert.errors import PoolError, SettingsError

if TYPE_CHECKING:
    from xpert.explainer import Explainer
    from xpert.models.reference import ModelReference
    from xpert.pool import Pool
    from xpert.records import Combination, Explanation, Sample
    from xpert.space.basis import Space

Reference = Literal["prompts", "continuation", "none"]


@dataclass(frozen=True)
class Family:
    """What tells language models from image models here.

    Args:
        is_model: whether a folder holds one.
        base_under: the base that such a folder is found to belong to, None where nothing says.
        resolve: name and revision of a base -> its folder.
    """

    is_model: Callable[[Path], bool]
    base_under: Callable[[Path], ModelReference | None]
    resolve: Callable[[str, str | None], Path]


@dataclass(frozen=True)
class MergePlan:
    """What is merged.

    Attributes:
        parents: name -> adapter folder and weight.
        base: name or folder of the base, as it was given or the pool has it.
        folder: of that base.
        base_name: what a card may call it; None where it is a folder.
        known: whether all parents are named from the pool.
    """

    parents: dict[str, tuple[Path, float]]
    base: str
    folder: Path
    base_name: str | None
    known: bool


@dataclass(frozen=True)
class Asked:
    """Whom a merge is for, and which models may take part.

    Attributes:
        samples: a person's; None: nobody's.
        wanted: word -> number, of a wish.
        said: whom, in words.
        limit: samples that are explained.
        most: models at most; None: as many as usual.
        fixed: models that take part, with their weight or None.
        forbidden: models that take no part.
    """

    samples: Sequence[Sample] | None
    wanted: Mapping[str, float]
    said: str
    limit: int
    most: int | None
    fixed: Mapping[str, float | None]
    forbidden: Sequence[str]

    @classmethod
    def of(
        cls,
        data: str | None,
        want: str | None,
        limit: int,
        columns: Mapping[str, Any],
        most: int | None,
        include: Sequence[str] | None,
        without: Sequence[str] | None,
    ) -> Asked:
        """From the options of a command.

        Raises:
            SettingsError: a wish or a weight that is none.
            DataError: the data cannot be read.
        """
        from xpert.cli.sources import person_samples
        from xpert.merging.weights import MOST_PARENTS

        wanted, fixed = {} if want is None else wanted_words(want), fixed_models(include or ())
        said = " and ".join(part for part in (data and f"this person ({data})", want) if part)
        samples = None if data is None else person_samples(data, columns)
        if most is None and len(fixed) > MOST_PARENTS:
            most = len(fixed)
        return cls(samples, wanted, said, limit, most, fixed, tuple(without or ()))

    def point(
        self, space: Space, explainer: Explainer | None, on_progress: Progress | None = None
    ) -> tuple[Explanation, Reference]:
        """The person's explanation, the wish, or the person's moved by the wish; and how references were made.

        Args:
            space: of the pool.
            explainer: of that pool; not needed for a wish alone.
            on_progress: called with (stage, done, total).

        Raises:
            SettingsError: the wish has a word that the space has not.
        """
        from xpert.merging.wishes import wish

        if self.samples is None or explainer is None:
            return wish(self.wanted, space), "none"
        person, reference = explainer.explain_samples(self.samples, limit=self.limit, on_progress=on_progress)
        return wish(self.wanted, space, person) if self.wanted else person, reference

    def plan(self, person: Explanation, pool: Pool) -> Combination:
        """Models and weights for that point.

        Raises:
            SettingsError: a model that is fixed or forbidden is not in the pool.
        """
        from xpert.device.merging import plan_merge
        from xpert.merging.weights import TEXT_SHARE

        return plan_merge(
            person,
            pool,
            most=self.most,
            fixed=self.fixed,
            forbidden=self.forbidden,
            wished=bool(self.wanted),
            share=TEXT_SHARE,
        )

    def check(self, space: Space, pool: Pool) -> None:
        """See that words and models are known, before anything is loaded.

        Raises:
            SettingsError: one is not.
        """
        from xpert.merging.wishes import check_words, wish

        if self.wanted:
            check_words(self.wanted, space)
        if self.samples is None:
            self.plan(wish(self.wanted, space), pool)
        elif space.words:  # a person's point is not known yet; any other tells whether the models are
            self.plan(wish({space.words[0]: 1.0}, space), pool)


def given_plan(
    parents: Sequence[str], place: Path, family: Family, base: str | None, *, pool_given: bool = False
) -> MergePlan:
    """The models that were named with weights: folders, and names in the pool.

    Args:
        parents: NAME=WEIGHT, each.
        place: folder of the pool.
        family: of the models.
        base: as it was given.
        pool_given: the pool was named, so it says what the base is.

    Raises:
        SettingsError: a weight that is no number, a model that is given twice, or a name that is a folder too.
        PoolError: no such pool, or no such model in it.
    """
    from xpert.models.reference import ModelReference, public_name

    weights: dict[str, float] = {}
    for text in parents:
        name, weight = weighed(text)
        if name in weights:
            raise SettingsError(f"{name!r} is given twice: write it once, with one weight")
        weights[name] = weight
    with reading(place) as opened:
        known = {record.name for record in opened.list()}
        folders = {name: _parent(name, opened, known, family) for name in weights}
        from_pool = [name for name in weights if name in known]
        reference = None if base is None else ModelReference(base)
        if reference is None and not from_pool and not pool_given:
            reference = next((named for folder in folders.values() if (named := family.base_under(folder))), None)
        if reference is None and (from_pool or pool_given):
            reference = base_of(opened, *from_pool[:1])
    if reference is None:
        raise SettingsError("nothing says what the base of these models is: give --base")
    planned: dict[str, tuple[Path, float]] = {}
    for name, folder in folders.items():
        twin = next((key for key, (other, _) in planned.items() if other.resolve() == folder.resolve()), None)
        if twin is not None:
            raise SettingsError(f"{name!r} and {twin!r} are one model: write it once, with one weight")
        called = name if name in known else _free_name(folder.resolve().name, {*planned, *from_pool})
        planned[called] = folder, weights[name]
    folder, shown = family.resolve(reference.model, reference.revision), public_name(reference.model)
    return MergePlan(planned, reference.model, folder, shown, known=len(from_pool) == len(weights))


def wanted_words(text: str) -> dict[str, float]:
    """Words with numbers from "expert=0.8,concise=0.5"; a word alone means a full style, 1.

    Raises:
        SettingsError: a number that is none, an empty word, or a word that is given twice.
    """
    wanted: dict[str, float] = {}
    for part in text.split(","):
        word, mark, number = (side.strip() for side in part.partition("="))
        try:
            value = float(number) if mark else 1.0
        except ValueError:
            raise SettingsError(f"{part.strip()!r} is no wish: write WORD=NUMBER, such as expert=0.8") from None
        if not word or word.lower() in wanted:
            raise SettingsError(
                f"{text!r} names {'no word' if not word else f'{word!r} twice'}: write expert=0.8,concise"
            )
        wanted[word.lower()] = value
    return wanted


def fixed_models(texts: Sequence[str]) -> dict[str, float | None]:
    """Models that must take part, from NAME or NAME=WEIGHT.

    Raises:
        SettingsError: a weight that is no number, or a model that is given twice.
    """
    fixed: dict[str, float | None] = {}
    for text in texts:
        name, weight = weighed(text) if "=" in text else (text, None)
        if name in fixed:
            raise SettingsError(f"{name!r} is given twice: write it once")
        fixed[name] = weight
    return fixed


def weighed(text: str) -> tuple[str, float]:
    """Name and weight from NAME=WEIGHT.

    Raises:
        SettingsError: there is no name, or no number.
    """
    name, mark, number = text.rpartition("=")
    try:
        if not (name and mark):
            raise ValueError
        return name, float(number)
    except ValueError:
        raise SettingsError(f"{text!r} names no model with a weight: write NAME=WEIGHT, such as red=0.6") from None


def pool_base(opened: Pool, place: Path) -> str:
    """The base of a pool that models are chosen from.

    Raises:
        PoolError: the pool is empty.
    """
    reference = base_of(opened)
    if reference is None or not opened.list():
        raise PoolError(f"pool {place} is empty: add models with `xpert pool add`")
    return reference.model


def _parent(name: str, opened: Pool, known: set[str], family: Family) -> Path:
    """The folder of a named parent."""
    from xpert.cli.converting import opened_adapter

    folder = opened_adapter(Path(name))
    if not family.is_model(folder):
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
