"""`xpert merge`: several pLLMs become one, with weights that are given, or found for a person or a wish."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xpert.cli.options import COLUMNS, Base, Device, Json, Out, Pool, Quiet, grouped

if TYPE_CHECKING:
    from xpert.cli.merge_plans import Asked
    from xpert.cli.sources import Progress
    from xpert.cli.terminal import Terminal
    from xpert.device.merging import MergeReport, MergeSettings

_MODELS, _MERGING = "Models", "Merging"
PERSON_SAMPLES = 50
Method = Literal["task-arithmetic", "ties", "dare", "dare-ties"]
Want = Annotated[
    str | None,
    typer.Option(
        "--want",
        metavar="WORDS",
        help="Wish in words of the pool: expert=0.8,concise=0.5. 1 is a full style, negative: less than the base.",
        rich_help_panel=_MODELS,
    ),
]
Most = Annotated[
    int | None,
    typer.Option(
        "--most", min=1, metavar="N", help="Models at most.", show_default="3, for a wish 4", rich_help_panel=_MODELS
    ),
]
With = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="NAME[=W]", help="This model takes part.", rich_help_panel=_MODELS),
]
Without = Annotated[
    list[str] | None,
    typer.Option("--without", metavar="NAME", help="This model takes no part.", rich_help_panel=_MODELS),
]
Rounds = Annotated[
    int | None,
    typer.Option(
        "--rounds",
        min=0,
        metavar="N",
        help="How often at most weights that were found are corrected by measuring the merge.",
        show_default="2",
        rich_help_panel=_MERGING,
    ),
]
HOW = {
    "method": (
        Annotated[
            Method,
            typer.Option(
                "--method",
                help="How differences become one: task-arithmetic, ties, dare or dare-ties.",
                rich_help_panel=_MERGING,
            ),
        ],
        "task-arithmetic",
    ),
    "density": (
        Annotated[
            float | None,
            typer.Option(
                "--density", help="Share of each difference that TIES and DARE keep.", rich_help_panel=_MERGING
            ),
        ],
        None,
    ),
    "rank": (
        Annotated[
            int | None,
            typer.Option(
                "--rank", min=1, help="Largest rank of the result.", show_default="the sum", rich_help_panel=_MERGING
            ),
        ],
        None,
    ),
    "seed": (
        Annotated[
            int | None,
            typer.Option("--seed", help="Of what DARE drops.", show_default="0", rich_help_panel=_MERGING),
        ],
        None,
    ),
}


@grouped(columns=COLUMNS, how=HOW)
def merge(
    out: Out,
    parents: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=WEIGHT", help="pLLMs of the pool, or folders of adapters or whole models."),
    ] = None,
    for_data: Annotated[
        str | None,
        typer.Option("--for", metavar="DATA", help="Find models and weights for this person.", rich_help_panel=_MODELS),
    ] = None,
    want: Want = None,
    most: Most = None,
    include: With = None,
    without: Without = None,
    pool: Pool = None,
    base: Base = None,
    rounds: Rounds = None,
    explain: Annotated[
        bool, typer.Option("--explain/--no-explain", help="Explain the result.", rich_help_panel=_MERGING)
    ] = True,
    device: Device = "auto",
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            min=1,
            metavar="N",
            help="Explain at most this many samples.",
            show_default="50",
            rich_help_panel="Data",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    columns: Mapping[str, Any],
    how: Mapping[str, Any],
) -> None:
    """Merge personalized models into one: the base plus the weighted sum of their differences from it.

    Weights are given, or found from the explanations for a person (--for), a wish (--want), or a person with a wish.
    LoRA adapters become one adapter, by task arithmetic exactly, whatever their ranks and layers; with a whole model
    among them the result is a whole model. It is explained again: what was predicted beside what it is.
    """
    from xpert.cli.merge_plans import Asked
    from xpert.cli.sources import free_folder, refuse_given
    from xpert.cli.terminal import Terminal
    from xpert.errors import SettingsError

    terminal, out = Terminal(json, quiet), free_folder(out)
    if bool(parents) == (for_data is not None or want is not None):
        raise SettingsError("give models with weights, such as alice=0.6 bob=0.5, or --for DATA, or --want expert=0.8")
    choosing = {"most": most, "with": include or None, "without": without or None, "rounds": rounds}
    read = {"samples": samples, **{k: v for k, v in columns.items() if v != COLUMNS[k][1]}}
    if parents:
        refuse_given({**choosing, **read}, "the models are named: leave it out, or let --for or --want choose them")
    else:
        refuse_given({"base": base}, "models are chosen from a pool, which has its own base: leave it out")
    if for_data is None:
        refuse_given(read, "nobody's data is read: leave it out, or give --for DATA")
    if not explain:
        refuse_given({"rounds": rounds}, "with --no-explain nothing is measured: leave out one of the two")
    settings = _settings(how)
    with terminal.progress() as progress:
        if parents:
            report = _given(parents, out, pool, base, settings, explain, device, progress.stage)
        else:
            asked = Asked.of(for_data, want, samples or PERSON_SAMPLES, columns, most, include, without)
            report = _found(asked, out, pool, settings, explain, rounds, device, progress.stage)
    show_merge(terminal, report)
    if parents and explain and report.measured is None:
        terminal.note("not explained: the pool is for another base, or has no space; give --pool of this base")


def _settings(how: Mapping[str, Any]) -> MergeSettings:
    """How to merge, checked before any work.

    Raises:
        SettingsError: a number that the method does not have, or lacks.
    """
    from xpert.cli.sources import refuse_given
    from xpert.device.merging import MergeSettings
    from xpert.errors import SettingsError
    from xpert.merging.methods import METHODS, Recipe

    parameters = METHODS[how["method"]].parameters
    if "density" in parameters and how["density"] is None:
        raise SettingsError(f"--method {how['method']} keeps a share of every difference: give --density, such as 0.5")
    if "masks" not in parameters:
        refuse_given({"seed": how["seed"]}, f"--method {how['method']} draws nothing: leave it out")
    given = {name: value for name, value in how.items() if value is not None}
    settings = MergeSettings(**given)
    Recipe(settings.method, settings.density, seed=settings.seed)
    return settings


def _given(
    parents: list[str],
    out: Path,
    pool: Path | None,
    base: str | None,
    settings: MergeSettings,
    explain: bool,
    device: str,
    on_progress: Progress,
) -> MergeReport:
    """Merge with given weights; explained where the pool is for the same base and has a space."""
    from xpert.cli.bases import merge_base_for
    from xpert.cli.merge_plans import Family, given_plan
    from xpert.cli.sources import is_merge_parent, pool_folder, reading, refuse_image_pool
    from xpert.device.merging import MergeReport, explain_given
    from xpert.merging.merge import merge_models
    from xpert.models.reference import model_digest, resolve_folder
    from xpert.opening import open_explainer

    family = Family(is_merge_parent, merge_base_for, resolve_folder)
    with reading(pool) as opened:
        refuse_image_pool(opened)
        plan = given_plan(parents, pool_folder(pool), family, base, pool_given=pool is not None)
        ours = explain and opened.has_space and opened.space.base == model_digest(plan.folder)
        explainer = open_explainer(opened, device=device) if ours else None
        done = merge_models(
            plan.parents, plan.folder, out, base_name=plan.base_name, on_progress=on_progress, **vars(settings)
        )
        if explainer is None:
            return MergeReport(done)
        return explain_given(done, opened, explainer, known=plan.known, on_progress=on_progress)


def _found(
    asked: Asked,
    out: Path,
    pool: Path | None,
    settings: MergeSettings,
    explain: bool,
    rounds: int | None,
    device: str,
    on_progress: Progress,
) -> MergeReport:
    """Merge the models that come nearest to a person or a wish.

    Raises:
        SettingsError: none lies nearer than the base.
    """
    from xpert.cli.merge_plans import pool_base
    from xpert.cli.sources import pool_folder, reading, wish_space
    from xpert.device.merging import make_merge
    from xpert.errors import SettingsError
    from xpert.merging.feedback import ROUNDS
    from xpert.opening import open_explainer

    with reading(pool) as opened:
        pool_base(opened, pool_folder(pool))
        asked.check(wish_space(opened), opened)
        explainer = open_explainer(opened, device=device)
        person, _ = asked.point(explainer.space, explainer, on_progress)
        plan = asked.plan(person, opened)
        if not plan.weights:
            raise SettingsError(
                f"no sum of models in {pool_folder(pool)} lies nearer to {asked.said} than the base, by more than the "
                f"noise of {person.noise:.2f}: start from the base"
            )
        return make_merge(
            plan,
            person,
            opened,
            explainer,
            out,
            settings,
            explained=explain,
            wished=bool(asked.wanted),
            fixed=asked.fixed,
            rounds=ROUNDS if rounds is None else rounds,
            on_progress=on_progress,
        )


def show_merge(terminal: Terminal, report: MergeReport) -> None:
    """What was merged, and what it is: for programs, or for people."""
    from dataclasses import asdict

    known = {name: value for name, value in vars(report).items() if name != "done"}
    terminal.emit({**asdict(report.done), **known})
    if terminal.json:
        return
    from xpert.reporting.merges import merge_view

    terminal.show(merge_view(report))
