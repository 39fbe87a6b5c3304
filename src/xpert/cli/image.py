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
    ImageBase,
    ImagePool,
    Pictures,
    Vision,
)
from xpert.cli.options import Device, Fresh, Html, Json, Out, Quiet, Samples, grouped

app = typer.Typer(no_args_is_help=True, help="Personalize image models: tune, explain, select, merge.")


@app.command()
@grouped(columns=PICTURES, diffusion=DIFFUSION)
def tune(
    data: Pictures,
    out: Out,
    base: ImageBase = None,
    start_from: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="Go on from this LoRA or U-Net.")
    ] = None,
    from_pool: Annotated[str | None, typer.Option("--from-pool", metavar="NAME", help="Go on from this model.")] = None,
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

    An interrupted run goes on where it stopped when the same command is run again.
    """
    from dataclasses import asdict

    from xpert.cli.image_sources import diffusion_settings, start_reference
    from xpert.cli.resuming import resumable
    from xpert.cli.terminal import Terminal

    terminal, settings = Terminal(json, quiet), diffusion_settings(diffusion)
    reference = start_reference(base, start_from, from_pool, pool)
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
    terminal.show(f"next: xpert image explain {out}")


@app.command()
def explain(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="A LoRA, a U-Net or a pipeline folder, a name in the pool, or a folder of pictures."
        ),
    ],
    pool: ImagePool = None,
    base: ImageBase = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", metavar="MODEL", help="CLIP, with --base: a folder or a hub name.")
    ] = None,
    captions: CaptionSource = None,
    number: Annotated[int, typer.Option("--num-sample", min=1, help="Captions to paint, with --base.")] = 50,
    vision: Vision = None,
    samples: Samples = 50,
    device: Device = "auto",
    html: Html = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say in words, with numbers, what sets an image model or a person's pictures apart from the base model.

    With --base a model is explained by itself, over words of its own; else in the words of a pool.
    """
    from xpert.cli.image_sources import explained
    from xpert.cli.sources import page_target
    from xpert.cli.terminal import Terminal

    terminal, page = Terminal(json, quiet), page_target(html)
    with (
        terminal.progress(pictures=True) as progress,
        explained(target, pool, base, encoder, captions, number, vision, samples, device, progress.stage) as found,
    ):
        kind, explanation, pairs = found
        name = target if kind == "pool" else Path(target).name or target
        if page is not None:
            from xpert.reporting.gallery import gallery
            from xpert.reporting.page import explanation_page, write_page

            shown = gallery(pairs, labels=("base", "yours" if kind == "person" else "personalized"))
            command = f"xpert image explain {target} --html {page}"
            write_page(page, explanation_page(explanation, title=name, command=command, pictures=shown))
    if not json:
        from xpert.reporting.bars import explanation_view

        terminal.show(explanation_view(explanation, title=name, of="pictures"))
    terminal.emit({"target": target, "kind": kind, "explanation": explanation})
    if page is not None:
        terminal.show(f"page: {page}")


@app.command()
@grouped(columns=PICTURES)
def select(
    data: Pictures,
    pool: ImagePool = None,
    vision: Vision = None,
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
    from xpert.cli.image_sources import person_pictures
    from xpert.cli.sources import page_target, reading
    from xpert.cli.terminal import Terminal
    from xpert.embedded import EMBEDDED_IMAGE_POOL

    terminal, page = Terminal(json, quiet), page_target(html)
    folder = pool or EMBEDDED_IMAGE_POOL
    with (
        reading(folder) as opened,
        terminal.progress(pictures=True) as progress,
        person_pictures(data, columns, vision, samples, device, progress.stage) as pictures,
    ):
        from xpert.device.pictures import select_for_pictures
        from xpert.merging.weights import combine
        from xpert.opening import open_picture_explainer

        explainer = open_picture_explainer(folder, device=device)
        records = opened.list()
        selection = select_for_pictures(pictures, opened, explainer, on_progress=progress.stage)
        merged = combine(selection.person, records)
        if page is not None:
            from xpert.reporting.gallery import gallery
            from xpert.reporting.page import selection_page, write_page

            shown = gallery(explainer.person_pairs(pictures), labels=("base", "yours"))
            command = f"xpert image select {data} --html {page}"
            title = Path(data).name or data
            write_page(page, selection_page(selection, records, title=title, command=command, pictures=shown))
    if not json:
        from xpert.reporting.bars import combination_view, explanation_view, selection_view

        terminal.show(explanation_view(selection.person, title=Path(data).name or data, of="pictures"), "")
        terminal.show(
            selection_view(selection), *combination_view(selection, merged, f"xpert image merge --for {data}")
        )
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
    most: Annotated[int, typer.Option("--most", min=1, help="Models at most, with --for.")] = 3,
    pool: ImagePool = None,
    base: ImageBase = None,
    vision: Vision = None,
    samples: Samples = 50,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    *,
    columns: Mapping[str, Any],
) -> None:
    """Merge image models by task arithmetic: the base plus the weighted sum of their differences from it.

    LoRAs become one LoRA, exactly; with a whole U-Net among them the result is a U-Net.
    """
    from dataclasses import asdict

    from xpert.cli.image_sources import merge_plan
    from xpert.cli.terminal import Terminal

    terminal = Terminal(json, quiet)
    with terminal.progress(pictures=True) as progress:
        from xpert.merging.images import merge_image_adapters

        plan, folder, name = merge_plan(
            parents or [], for_pictures, most, pool, base, vision, samples, device, columns, progress.stage
        )
        done = merge_image_adapters(plan, folder, out, base_name=name, on_progress=progress.stage)
    terminal.emit(asdict(done))
    shown = " + ".join(f"{weight:g} {parent}" for parent, weight in done.weights.items())
    terminal.show(f"{shown}: {out} ({'LoRA of rank ' + str(done.rank) if done.rank else 'U-Net'})")
    terminal.show(f"next: xpert image explain {out}")
