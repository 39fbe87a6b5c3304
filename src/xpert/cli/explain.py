"""`xpert explain`: what sets a pLLM or a person apart from the base, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpert.cli.options import COLUMNS, Device, Html, Json, Pool, Quiet, Samples, grouped

if TYPE_CHECKING:
    from xpert.cli.progress import Progress
    from xpert.cli.sources import Kind
    from xpert.records import Explanation


@grouped(columns=COLUMNS)
def explain(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="An adapter folder, a whole model, a name in the pool, personal data (file or folder), or a sample "
            "person: @mia.",
        ),
    ],
    pool: Pool = None,
    samples: Samples = 50,
    device: Device = "auto",
    html: Html = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    columns: Mapping[str, Any],
) -> None:
    """Say in words, with numbers, what sets an adapter or a person apart from the base model."""
    from xpert.cli.commands import command_line
    from xpert.cli.sources import kind_of, page_target
    from xpert.cli.terminal import Terminal

    terminal, page = Terminal(json, quiet), page_target(html)
    kind = kind_of(target, pool, columns)
    with terminal.progress() as progress:
        explanation, of = _explained(target, kind, pool, samples, device, columns, progress)
    name = target if kind == "pool" or target.startswith("@") else Path(target).name or target
    if not json:
        from xpert.reporting.bars import explanation_view

        terminal.show(explanation_view(explanation, title=name, of=of))
    terminal.emit({"target": target, "kind": kind, "explanation": explanation})
    if page is not None:
        from xpert.reporting.page import explanation_page, write_page

        given = {"pool": pool, "samples": samples, "device": device, **columns}
        command = command_line("explain", target, **given, html=page)
        write_page(page, explanation_page(explanation, title=name, command=command, of=of))
        terminal.show(f"page: {page}")


def _explained(
    target: str,
    kind: Kind,
    pool: Path | None,
    samples: int,
    device: str,
    columns: Mapping[str, Any],
    progress: Progress,
) -> tuple[Explanation, str]:
    """The explanation, and what it was read from."""
    from xpert.cli.image_pools import of_pictures
    from xpert.cli.sources import person_samples, pool_folder, reading

    if kind == "pool":
        with reading(pool) as opened:
            found, adapter = opened.get(target).explanation, opened.adapter_path(target)
            of = "pictures" if found is not None and of_pictures(opened) else "texts"
        if found is not None:
            return found, of
    elif kind == "adapter":
        adapter = Path(target).expanduser()
    else:
        own = person_samples(target, columns)
    from xpert.opening import open_explainer

    explainer = open_explainer(pool_folder(pool), device=device)
    if kind == "person":
        return explainer.explain_samples(own, limit=samples, on_progress=progress.stage)[0], "texts"
    return explainer.explain_adapter(adapter, on_progress=progress.stage), "texts"
