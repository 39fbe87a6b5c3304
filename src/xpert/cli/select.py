"""`xpert select`: where a person should start, and why; or which models a wish comes nearest to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpert.cli.merging import Most, Want, With, Without
from xpert.cli.options import COLUMNS, Device, Html, Json, Pool, Quiet, Samples, grouped

if TYPE_CHECKING:
    from xpert.cli.merge_plans import Asked
    from xpert.cli.sources import Progress
    from xpert.pool import Pool as OpenPool
    from xpert.records import Selection
    from xpert.space.basis import Space


@grouped(columns=COLUMNS)
def select(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]",
            help="Personal data: a file (JSONL, JSON, CSV, Parquet, text, chat, mail), a folder, the name of a Hugging "
            "Face dataset, or a sample person such as @mia. It stays on this machine. Not needed with --want.",
        ),
    ] = None,
    want: Want = None,
    most: Most = None,
    include: With = None,
    without: Without = None,
    pool: Pool = None,
    samples: Samples = 50,
    device: Device = "auto",
    html: Html = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    columns: Mapping[str, Any],
) -> None:
    """Choose the pLLM of a pool that is nearest to a person's data or to a wish, or the base where none fits.

    No candidate is loaded or run; for a wish alone, nothing is. Where several models together come nearer than any
    one, their merge is named too. To start from the base is an answer as well: the exit code is 0.
    """
    from xpert.cli.commands import command_line
    from xpert.cli.merge_plans import Asked
    from xpert.cli.sources import page_target, reading
    from xpert.cli.terminal import Terminal
    from xpert.errors import SettingsError

    if data is None and want is None:
        raise SettingsError("nothing to select for: give DATA, or --want such as expert=0.8,concise=0.5")
    terminal, page = Terminal(json, quiet), page_target(html)
    asked = Asked.of(data, want, samples, columns, most, include, without)
    with reading(pool) as opened, terminal.progress(libraries=data is not None) as progress:
        selection, space = _selected(asked, opened, device, progress.stage)
        merged, records = asked.plan(selection.person, opened), opened.list()
    name = (data if data.startswith("@") else Path(data).name or data) if data else str(want)
    chosen = {
        "want": want,
        "most": most,
        "with": include,
        "without": without,
        "pool": pool,
        "samples": samples,
        "device": device,
        **columns,
    }
    if not json:
        from xpert.reporting.bars import explanation_view, selection_view
        from xpert.reporting.merges import combination_view, wish_view

        command = command_line("merge", **{"for": data}, **chosen, out="merged")
        if data is not None:
            terminal.show(explanation_view(selection.person, title=name), "")
        terminal.show(selection_view(selection), *combination_view(selection, merged, command))
        if want is not None:
            terminal.show("", wish_view(selection.person, merged, _predicted(merged, space)))
    terminal.emit({**selection.model_dump(mode="json"), "merge": merged, "predicted": _predicted(merged, space)})
    if page is not None:
        from xpert.reporting.page import selection_page, write_page

        command = command_line("select", *([data] if data else []), **chosen, html=page)
        write_page(page, selection_page(selection, records, title=name, command=command))
        terminal.show(f"page: {page}")


def _selected(asked: Asked, opened: OpenPool, device: str, on_progress: Progress) -> tuple[Selection, Space]:
    """The nearest single model; models are loaded only to explain a person."""
    from xpert.cli.sources import wish_space
    from xpert.selecting import select as nearest

    explainer = None
    if asked.samples is None:
        space = wish_space(opened)
    else:
        from xpert.opening import open_explainer

        explainer = open_explainer(opened, device=device)
        space = explainer.space
    person, reference = asked.point(space, explainer, on_progress)
    allowed = [record for record in opened.list() if record.name not in asked.forbidden]
    return nearest(person, allowed, reference=reference), space


def _predicted(merged: Any, space: Space) -> dict[str, float]:
    from xpert.merging.wishes import predicted

    return predicted(merged, space)
