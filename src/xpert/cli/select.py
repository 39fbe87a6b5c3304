"""`xpert select`: where a person should start, and why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpert.cli.options import COLUMNS, Data, Device, Html, Json, Pool, Quiet, Samples, grouped


@grouped(columns=COLUMNS)
def select(
    data: Data,
    pool: Pool = None,
    samples: Samples = 50,
    device: Device = "auto",
    html: Html = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    columns: Mapping[str, Any],
) -> None:
    """Choose the pLLM of a pool that is nearest to a person's data, or the base where none fits.

    No candidate is loaded or run. To start from the base is an answer too: the exit code is 0.
    """
    from xpert.cli.commands import command_line
    from xpert.cli.sources import page_target, person_samples, pool_folder, reading
    from xpert.cli.terminal import Terminal

    terminal, page = Terminal(json, quiet), page_target(html)
    own = person_samples(data, columns)
    with reading(pool) as opened, terminal.progress() as progress:
        from xpert.device.personalize import select_for
        from xpert.opening import open_explainer

        explainer = open_explainer(pool_folder(pool), device=device)
        selection = select_for(own, opened, explainer, limit=samples, on_progress=progress.stage)
        records = opened.list()
    name = data if data.startswith("@") else Path(data).name or data
    if not json:
        from xpert.reporting.bars import explanation_view, selection_view

        terminal.show(explanation_view(selection.person, title=name), "", selection_view(selection))
    terminal.emit(selection)
    if page is not None:
        from xpert.reporting.page import selection_page, write_page

        given = {"pool": pool, "samples": samples, "device": device, **columns}
        command = command_line("select", data, **given, html=page)
        write_page(page, selection_page(selection, records, title=name, command=command))
        terminal.show(f"page: {page}")
