"""`xpert image`: the same story for image models: tune, explain, select, merge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from xpert.cli.image_options import (
    DIFFUSION,
    PICTURES,
    CaptionSource,
    CaptionWriter,
    ImageBase,
    ImagePool,
    MostImages,
    PersonSamples,
    Pictures,
    Vision,
)
from xpert.cli.merging import Rounds
from xpert.cli.options import Device, Fresh, Html, Json, Out, Quiet, Samples, grouped

app = typer.Typer(no_args_is_help=True, help="Personalize image models: tune, explain, select, merge.")


@app.command()
@grouped(columns=PICTURES, diffusion=DIFFUSION)
def tune(
    data: Pictures,
    out: Out,
    base: ImageBase = None,
    start_from: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="Start from this LoRA or U-Net.")
    ] = None,
    from_pool: Annotated[str | None, typer.Option("--from-pool", metavar="NAME", help="Start from this model.")] = None,
    pool: ImagePool = None,
    device: Device = "auto",
    fresh: Fresh = False,
    json: Json = False,
    quiet: Quiet = False,
    *,
    columns: Mapping[str, Any],
    diffusion: Mapping[str, Any],
) -> None:
    """Tune a diffusion model on pictures with captions: a LoRA of its U-Net, or all of it.

    The same command, run again, resumes an interrupted run where it stopped.
    """
    from dataclasses import asdict

    from xpert.cli.image_sources import diffusion_settings, next_command, start_reference
    from xpert.cli.resuming import resumable
    from xpert.cli.sources import free_folder
    from xpert.cli.terminal import Terminal

    terminal, settings, out = Terminal(json, quiet), diffusion_settings(diffusion), free_folder(out)
    reference = start_reference(base, start_from, from_pool, pool, ask=not json)
    with resumable(out), terminal.progress(pictures=True) as progress:
        from xpert.data.pictures import open_pictures
        from xpert.tuning.diffusion import tune_diffusion

        pictures = open_pictures(data, **columns, on_progress=progress.stage)
        result = tune_diffusion(
            reference,
            pictures,
            out,
            settings,
            on_step=progress.step,
            on_progress=progress.stage,
            device=device,
            fresh=fresh,
        )
    terminal.emit({"start": reference.adapter or reference.model, "settings": settings, **asdict(result)})
    for note in result.notes:
        terminal.note(note)
    terminal.show(f"{result.steps} steps on {len(pictures)} pictures: {out}")
    terminal.show(f"next: {next_command(out, reference.model, pool)}")


@app.command()
@grouped(columns=PICTURES)
def explain(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A LoRA, a U-Net or a pipeline folder, a name in the pool, or pictures: a folder, Parquet, or a "
            "Hugging Face dataset.",
        ),
    ],
    pool: ImagePool = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="MODEL",
            help="Explain a model by itself, beside this base pipeline: a folder or a Hugging Face name.",
            show_default="none: in the words of the pool",
            rich_help_panel="Models",
        ),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", metavar="MODEL", help="CLIP, with --base: a folder or a hub name.")
    ] = None,
    captions: CaptionSource = None,
    number: Annotated[
        int | None, typer.Option("--num-sample", min=1, help="Captions to paint, with --base.", show_default="50")
    ] = None,
    vision: Vision = None,
    samples: PersonSamples = None,
    device: Device = "auto",
    html: Html = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    columns: Mapping[str, Any],
) -> None:
    """Say in words, with numbers, what sets an image model or a person's pictures apart from the base model.

    With --base a model is explained by itself, over words of its own; else in the words of a pool, whose own models
    have been explained already.
    """
    from xpert.cli.commands import command_line
    from xpert.cli.image_explained import AloneOptions, explained
    from xpert.cli.image_sources import PersonOptions, given_here
    from xpert.cli.sources import page_target, refuse_given
    from xpert.cli.terminal import Terminal

    terminal, page = Terminal(json, quiet), page_target(html)
    alone, person = AloneOptions(base, encoder, captions, number), PersonOptions(columns, vision, samples, device)
    if base is not None:
        refuse_given({"pool": given_here(pool)}, "with --base a model is explained by itself: give one of the two")
    with (
        terminal.progress(pictures=True) as progress,
        explained(target, pool, alone, person, progress.stage) as found,
    ):
        name = target if found.kind == "pool" else Path(target).name or target
        if page is not None:
            from xpert.reporting.gallery import gallery
            from xpert.reporting.page import explanation_page, write_page

            own = found.kind == "person"
            command = command_line(
                "image", "explain", target, pool=None if base else pool, base=base, encoder=encoder, captions=captions,
                num_sample=number, vision=vision, samples=samples, device=device, html=page, **columns,
            )  # fmt: skip
            lead = "The same captions: " if own else "The same captions, "
            lead += "left what the base paints, right the person's own." if own else "the same noise."
            shown = gallery(found.pairs(), labels=("base", "yours" if own else "personalized"))
            html_text = explanation_page(
                found.explanation, title=name, command=command, of="pictures", pictures=shown, pictures_lead=lead
            )
            write_page(page, html_text)
    if not json:
        from xpert.reporting.bars import explanation_view

        terminal.show(explanation_view(found.explanation, title=name, of="pictures"))
    terminal.emit({"target": target, "kind": found.kind, "explanation": found.explanation})
    if page is not None:
        terminal.show(f"page: {page}")


@app.command()
@grouped(columns=PICTURES)
def select(
    data: Pictures,
    pool: ImagePool = None,
    vision: CaptionWriter = None,
    samples: Samples = 50,
    device: Device = "auto",
    html: Html = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    columns: Mapping[str, Any],
) -> None:
    """Choose the image model of a pool that is nearest to a person's pictures, or the base where none fits.

    No candidate is loaded or run. To start from the base is an answer too: the exit code is 0.
    """
    from xpert.cli.commands import command_line
    from xpert.cli.image_sources import PersonOptions, image_pool, person_pictures
    from xpert.cli.sources import page_target, reading
    from xpert.cli.terminal import Terminal

    terminal, page = Terminal(json, quiet), page_target(html)
    folder, person = image_pool(pool), PersonOptions(columns, vision, samples, device)
    given = {"pool": pool, "vision": vision, "samples": samples, "device": device, **columns}
    with (
        reading(folder) as opened,
        terminal.progress(pictures=True) as progress,
        person_pictures(data, person, progress.stage) as pictures,
    ):
        from xpert.device.pictures import select_for_pictures
        from xpert.merging.weights import combine
        from xpert.opening import open_picture_explainer

        explainer = open_picture_explainer(opened, device=device)
        records = opened.list()
        selection = select_for_pictures(pictures, opened, explainer, on_progress=progress.stage)
        merged = combine(selection.person, records)
        if page is not None:
            from xpert.reporting.gallery import gallery
            from xpert.reporting.page import selection_page, write_page

            shown = gallery(explainer.person_pairs(pictures), labels=("base", "yours"))
            command = command_line("image", "select", data, **given, html=page)
            title = Path(data).name or data
            write_page(page, selection_page(selection, records, title=title, command=command, pictures=shown))
    if not json:
        from xpert.reporting.bars import explanation_view, selection_view
        from xpert.reporting.merges import combination_view

        terminal.show(explanation_view(selection.person, title=Path(data).name or data, of="pictures"), "")
        command = command_line("image", "merge", **{"for": data}, **given, out="merged")
        terminal.show(selection_view(selection), *combination_view(selection, merged, command))
    terminal.emit({**selection.model_dump(mode="json"), "merge": merged})
    if page is not None:
        terminal.show(f"page: {page}")


@app.command()
@grouped(columns=PICTURES)
def merge(
    out: Out,
    parents: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=WEIGHT", help="Names in the pool, or folders, with weights.")
    ] = None,
    for_pictures: Annotated[
        str | None, typer.Option("--for", metavar="PICTURES", help="Choose models and weights for these pictures.")
    ] = None,
    most: MostImages = None,
    rounds: Rounds = None,
    pool: ImagePool = None,
    base: ImageBase = None,
    vision: CaptionWriter = None,
    samples: PersonSamples = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    *,
    columns: Mapping[str, Any],
) -> None:
    """Merge image models by task arithmetic: the base plus the weighted sum of their differences from it.

    LoRAs become one LoRA, exactly; with a whole U-Net among them the result is a U-Net. With --for the merge is painted
    and explained, and its weights are corrected by what it turned out to be.
    """
    from xpert.cli.image_merging import merge_for_pictures, named_image_models
    from xpert.cli.image_sources import PersonOptions, next_command
    from xpert.cli.merging import show_merge
    from xpert.cli.sources import free_folder, refuse_given
    from xpert.cli.terminal import Terminal
    from xpert.device.merging import MergeReport
    from xpert.errors import SettingsError

    terminal, person, out = Terminal(json, quiet), PersonOptions(columns, vision, samples, device), free_folder(out)
    if bool(parents) == (for_pictures is not None):
        raise SettingsError("give models with weights, such as red=0.6 striped=0.5, or --for PICTURES: one of the two")
    if for_pictures is None:
        person.refuse("no person's pictures are read without --for: leave it out")
        refuse_given({"most": most, "rounds": rounds}, "the models are named: leave it out, or let --for choose them")
    else:
        refuse_given({"base": base}, "models are chosen from a pool, which has its own base: leave it out")
    with terminal.progress(pictures=True) as progress:
        from xpert.merging.images import merge_image_adapters

        if for_pictures is None:
            plan = named_image_models(parents or [], pool, base)
            report, pipeline = (
                MergeReport(
                    merge_image_adapters(
                        plan.parents, plan.folder, out, base_name=plan.base_name, on_progress=progress.stage
                    )
                ),
                plan.base,
            )
        else:
            report, pipeline = merge_for_pictures(for_pictures, out, person, most, rounds, pool, progress.stage)
    show_merge(terminal, report)
    terminal.show(f"next: {next_command(out, pipeline, pool)}")
