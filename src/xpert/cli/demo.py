"""`xpert demo`: the whole story with a sample person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xpert.cli.options import Json, Quiet


def demo(
    person: Annotated[
        str | None,
        typer.Argument(metavar="PERSON", help="A sample person: mia, noor, viktor or wen.", show_default="wen"),
    ] = None,
    report: Annotated[Path, typer.Option("--report", metavar="FILE", help="Where to write the page.")] = Path(
        "xpert-report.html"
    ),
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no page.")] = False,
    images: Annotated[
        bool, typer.Option("--images", help="Image models: a pool, two people's pictures, a choice and a merge.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Explain a sample person, choose where to start, and tune from there and from scratch to the same loss.

    Everything it needs comes with the package; nothing is downloaded.
    """
    if images:
        if person is not None:
            from xpert.errors import SettingsError

            raise SettingsError(f"--images has people of its own: leave out {person!r}, or leave out --images")
        _images(report, no_report, json, quiet)
        return
    from xpert.cli.sources import page_target, reading
    from xpert.cli.terminal import Terminal
    from xpert.data import sample_person

    terminal, person = Terminal(json, quiet), sample_person((person or "wen").removeprefix("@"), mark="@")
    page = None if no_report else page_target(report)
    if not json:
        from xpert.reporting.bars import pool_view

        with reading(None) as pool:
            terminal.show("The pool, explained once:", pool_view(pool.list()), "")
    with terminal.progress() as progress:
        from xpert.evaluation.demo import run_demo

        result = run_demo(person, on_progress=progress.stage, on_step=progress.named_step)
    if not json:
        from xpert.reporting.bars import explanation_view, runs_view, selection_view

        terminal.show(f"{person.capitalize()}. {result.title}", explanation_view(result.selection.person), "")
        terminal.show(selection_view(result.selection, most=3), "", runs_view(result))
    terminal.emit(result)
    if page is not None:
        from xpert.reporting.page import write_page
        from xpert.reporting.story import story_page

        write_page(page, story_page(result, command=f"xpert demo {person}"))
        terminal.show("", f"The page of this demo: {page.resolve()}")


def _images(report: Path, no_report: bool, json: bool, quiet: bool) -> None:
    """The demo of image models."""
    import tempfile

    from xpert.cli.sources import page_target, reading
    from xpert.cli.terminal import Terminal
    from xpert.embedded import EMBEDDED_IMAGE_POOL

    terminal, page = Terminal(json, quiet), None if no_report else page_target(report)
    if not json:
        from xpert.reporting.bars import pool_view

        with reading(EMBEDDED_IMAGE_POOL) as pool:
            terminal.show("The pool of image models, explained once:", pool_view(pool.list()), "")
    with terminal.progress(pictures=True) as progress, tempfile.TemporaryDirectory(prefix="xpert-demo-") as folder:
        from xpert.evaluation.image_demo import run_image_demo

        result, shown = run_image_demo(Path(folder) / "merged", on_progress=progress.stage)
    if not json:
        from xpert.reporting.bars import explanation_view, selection_view
        from xpert.reporting.image_story import image_headline

        for name, selection in zip((one.name for one in shown[-2:]), (result.single, result.mixed), strict=True):
            terminal.show(explanation_view(selection.person, title=name.capitalize(), of="pictures"), "")
            terminal.show(selection_view(selection, most=3), "")
        if result.merged is not None:
            sum_of = " + ".join(f"{weight:.2f} {name}" for name, weight in result.merge.weights.items())
            terminal.show(f"merged: {sum_of}", explanation_view(result.merged, title="the merge", of="pictures"), "")
        terminal.show(image_headline(result))
    terminal.emit(result)
    if page is not None:
        from xpert.reporting.image_story import image_story_page
        from xpert.reporting.page import write_page

        write_page(page, image_story_page(result, shown, command="xpert demo --images"))
        terminal.show("", f"The page of this demo: {page.resolve()}")
