"""`xpert tune` and `xpert personalize`: LoRA on a person's samples, from a chosen start or the one that fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpert.cli.options import COLUMNS, TUNING, Base, Data, Device, Fresh, Json, Out, Pool, Quiet, Samples, grouped
from xpert.cli.options import Validation as Share

if TYPE_CHECKING:
    from xpert.cli.terminal import Terminal
    from xpert.models.reference import ModelReference
    from xpert.records import Sample
    from xpert.tuning import TuningResult, TuningSettings

_DATA, _MODELS = "Data", "Models"


@grouped(columns=COLUMNS, tuning=TUNING)
def tune(
    data: Data,
    out: Out,
    base: Base = None,
    start_from: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="Start from this adapter.", rich_help_panel=_MODELS),
    ] = None,
    from_pool: Annotated[
        str | None,
        typer.Option("--from-pool", metavar="NAME", help="Start from this pLLM.", rich_help_panel=_MODELS),
    ] = None,
    pool: Pool = None,
    device: Device = "auto",
    validation: Share = 0.2,
    validation_data: Annotated[
        str | None,
        typer.Option("--validation-data", metavar="DATA", help="Validation data of its own.", rich_help_panel=_DATA),
    ] = None,
    similarity: Annotated[
        float | None,
        typer.Option("--similarity", help="Share of DATA in a mix with --default-data.", rich_help_panel=_DATA),
    ] = None,
    default_data: Annotated[
        str | None,
        typer.Option("--default-data", metavar="DATA", help="Unstylized data of the mix.", rich_help_panel=_DATA),
    ] = None,
    fresh: Fresh = False,
    json: Json = False,
    quiet: Quiet = False,
    *,
    columns: Mapping[str, Any],
    tuning: Mapping[str, Any],
) -> None:
    """Tune a LoRA adapter on a person's data, from a base model or from another adapter.

    The same command, run again, resumes an interrupted run where it stopped.
    """
    from xpert.cli.resuming import resumable
    from xpert.cli.sources import free_folder, person_samples
    from xpert.cli.terminal import Terminal

    settings, terminal, out = tuning_settings(tuning), Terminal(json, quiet), free_folder(out)
    reference = _reference(base, start_from, from_pool, pool, ask=not json)
    own = _mixed(person_samples(data, columns), similarity, default_data, columns, settings.seed)
    held_apart = None if validation_data is None else person_samples(validation_data, columns)
    train, held = _parted(own, held_apart, validation, settings.seed)
    with resumable(out), terminal.progress() as progress:
        from xpert.tuning import tune as run

        result = run(reference, train, held, out, settings, on_step=progress.step, device=device, fresh=fresh)
    start = from_pool or (str(start_from) if start_from else reference.model)
    notes = _notes(reference.adapter, settings, tuning)
    terminal.emit({"start": start, "settings": settings, **asdict(result), "notes": notes})
    for note in notes:
        terminal.note(note)
    _show(terminal, start, result)


@grouped(columns=COLUMNS, tuning=TUNING)
def personalize(
    data: Data,
    out: Out,
    pool: Pool = None,
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="NAME", help="Start from this pLLM, or from 'base', whatever fits best."),
    ] = None,
    device: Device = "auto",
    samples: Samples = 50,
    validation: Share = 0.2,
    fresh: Fresh = False,
    json: Json = False,
    quiet: Quiet = False,
    *,
    columns: Mapping[str, Any],
    tuning: Mapping[str, Any],
) -> None:
    """Explain a person's data, choose where to start, tune from there, and save the adapter.

    Where several pLLMs together come nearer than any one, they are merged. The choice is checked on the person's own
    validation samples first: where the base does better, it is the start.
    """
    from xpert.cli.resuming import resumable
    from xpert.cli.sources import free_folder, person_samples, reading
    from xpert.cli.terminal import Terminal

    settings, terminal, out = tuning_settings(tuning), Terminal(json, quiet), free_folder(out)
    own = person_samples(data, columns)
    with reading(pool) as opened, resumable(out), terminal.progress() as progress:
        from xpert.device.personalize import personalize as run
        from xpert.opening import open_explainer

        done = run(
            own,
            opened,
            open_explainer(opened, device=device),
            out,
            settings=settings,
            validation=_share(validation),
            start=start,
            limit=samples,
            fresh=fresh,
            on_progress=progress.stage,
            on_step=progress.step,
        )
        chosen = done.start if done.start in {record.name for record in opened.list()} else None
        notes = _notes(None if chosen is None else opened.adapter_path(chosen), settings, tuning)
    terminal.emit({**vars(done), "tuning": asdict(done.tuning), "settings": settings, "notes": notes})
    for note in notes:
        terminal.note(note)
    if not json:
        from xpert.reporting.bars import explanation_view, selection_view
        from xpert.reporting.wording import sum_of

        terminal.show(explanation_view(done.selection.person, title="you"), "", selection_view(done.selection, most=3))
        if done.merge is not None:
            terminal.show(
                "", f"nearer than any one: {sum_of(done.merge.weights)}, at {done.merge.distance:.2f} from you"
            )
        tried = ", ".join(f"{name} {loss:.3f}" for name, loss in done.losses.items())
        terminal.show("", f"loss on your validation samples: {tried}")
    _show(terminal, done.start or "the base", done.tuning)


def _notes(adapter: Path | str | None, settings: TuningSettings, tuning: Mapping[str, Any]) -> tuple[str, ...]:
    """What a run did not take over from its start."""
    from xpert.tuning.carrying import start_notes

    if adapter is None:
        return ()
    return start_notes(Path(adapter), settings.dropout, [name for name, value in tuning.items() if value is not None])


def tuning_settings(given: Mapping[str, Any]) -> TuningSettings:
    """Settings from the options that were given; `--patience 0` means never.

    Raises:
        SettingsError: at least one value breaks its rule.
    """
    from xpert.tuning import TuningSettings

    values = {name: value for name, value in given.items() if value is not None}
    if values.get("patience") == 0:
        values["patience"] = None
    return TuningSettings(**values)


def _reference(
    base: str | None, start_from: Path | None, from_pool: str | None, pool: Path | None, *, ask: bool = True
) -> ModelReference:
    """The base and the adapter that the options name."""
    from xpert.cli.bases import base_for
    from xpert.cli.sources import PACKAGED_BASE, adapter_folder, base_of, reading
    from xpert.errors import SettingsError
    from xpert.models.reference import ModelReference

    if start_from is not None and from_pool is not None:
        raise SettingsError("--from and --from-pool name two starts: give one of them")
    if from_pool is not None:
        with reading(pool) as opened:
            named = base_of(opened, from_pool) if base is None else ModelReference(base)
            return replace(named or ModelReference(PACKAGED_BASE), adapter=str(opened.adapter_path(from_pool)))
    if start_from is not None:
        folder = adapter_folder(start_from)
        return replace(base_for(folder, base, pool, ask=ask), adapter=str(folder))
    return ModelReference(base or PACKAGED_BASE)


def _mixed(
    own: list[Sample], similarity: float | None, default_data: str | None, columns: Mapping[str, Any], seed: int
) -> list[Sample]:
    """The person's samples, mixed with default ones where that is asked for."""
    from xpert.cli.sources import person_samples
    from xpert.data import mix
    from xpert.errors import SettingsError

    if similarity is None and default_data is None:
        return own
    if similarity is None or default_data is None:
        raise SettingsError("--similarity and --default-data belong together: give both, or neither")
    return mix(own, person_samples(default_data, {**columns, "me": None}), similarity=similarity, count=None, seed=seed)


def _parted(
    own: list[Sample], held_apart: list[Sample] | None, validation: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Training and validation samples."""
    from xpert.data import split_samples

    return (own, held_apart) if held_apart is not None else split_samples(own, validation=_share(validation), seed=seed)


def _share(validation: float) -> float | int:
    """A share below 1, or a whole number of samples."""
    return int(validation) if validation >= 1 and validation == int(validation) else validation


def _show(terminal: Terminal, start: str, result: TuningResult) -> None:
    """What a run did, and what can be done with it."""
    if terminal.json:
        return
    from rich.table import Table
    from rich.text import Text

    from xpert.printing import printable_name
    from xpert.reporting.wording import duration

    reasons = {"target": "target reached", "plateau": "no more improvement", "max_steps": "all steps taken"}
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("start", Text(printable_name(start)))
    if result.initial_loss is not None and result.best_loss is not None:
        facts.add_row("loss", f"{result.initial_loss:.3f} to {result.best_loss:.3f} at step {result.best_step}")
    facts.add_row("steps", f"{result.steps} in {duration(result.seconds)}, {reasons[result.stopped]}")
    facts.add_row("samples", str(result.samples_seen))
    facts.add_row("adapter", Text(printable_name(result.out, 4096), style="bold"))
    terminal.show(facts, f"\ntry it: xpert chat --adapter {printable_name(result.out, 4096)}")
