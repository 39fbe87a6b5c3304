"""`xpert chat`: the base and a personalized model answer side by side, or the base alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xpert.cli.options import Base, Device, Json, Pool, Quiet

if TYPE_CHECKING:
    from xpert.cli.terminal import Terminal
    from xpert.models.loading import LoadedModel
    from xpert.models.reference import ModelReference


def chat(
    adapter: Annotated[
        Path | None,
        typer.Option("--adapter", metavar="FOLDER", help="The personalized model.", rich_help_panel="Models"),
    ] = None,
    from_pool: Annotated[
        str | None,
        typer.Option("--from-pool", metavar="NAME", help="A pLLM of the pool instead.", rich_help_panel="Models"),
    ] = None,
    pool: Pool = None,
    base: Base = None,
    device: Device = "auto",
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", metavar="TEXT", help="Ask this, and end; may be given several times."),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer.")] = 192,
    seed: Annotated[int, typer.Option("--seed", help="Of the sampling.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask the base model and a personalized one, and read both answers side by side; with --base only, ask that alone.

    Without --prompt it asks for questions until Ctrl-D, or reads them from standard input, one a line.
    """
    from xpert.cli.terminal import Terminal

    terminal = Terminal(json, quiet)
    name, folder, reference = _named(adapter, from_pool, pool, base, ask=not json)
    live = not prompt and not json and sys.stdin.isatty()
    asked = _typed() if live else iter(prompt or _lines())
    with _both(terminal, reference, folder, device) as loaded:
        rows = []
        for text in asked:
            with terminal.progress():
                plain, own = _answers(loaded, text, max_new_tokens, seed, alone=folder is None)
            _show(terminal, text, name, plain, own)
            rows.append({"prompt": text, "base": plain, "personalized": own})
    terminal.emit({"base": reference.model, "adapter": None if folder is None else str(folder), "answers": rows})


def _named(
    adapter: Path | None, from_pool: str | None, pool: Path | None, base: str | None, *, ask: bool = True
) -> tuple[str, Path | None, ModelReference]:
    """Name for people, adapter folder (None: the base is asked alone) and base."""
    from xpert.cli.bases import base_for
    from xpert.cli.sources import PACKAGED_BASE, adapter_folder, base_of, reading
    from xpert.errors import SettingsError
    from xpert.models.reference import ModelReference

    if adapter is not None and from_pool is not None:
        raise SettingsError("one personalized model is asked: give either --adapter FOLDER or --from-pool NAME")
    if adapter is None and from_pool is None:
        if base is not None:
            return base, None, ModelReference(base)
        raise SettingsError(
            "nobody to ask: give --adapter FOLDER or --from-pool NAME for a personalized model, or --base MODEL to ask "
            "a base alone"
        )
    if adapter is not None:
        folder = adapter_folder(adapter)
        return folder.name, folder, base_for(folder, base, pool, ask=ask)
    assert from_pool is not None
    with reading(pool) as opened:
        named = base_of(opened, from_pool) if base is None else ModelReference(base)
        return from_pool, opened.adapter_path(from_pool), named or ModelReference(PACKAGED_BASE)


def _typed() -> Iterator[str]:
    """Questions that are typed, until Ctrl-D."""
    print("Ask something; Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            print(file=sys.stderr)
            return
        if text:
            yield text


def _lines() -> list[str]:
    """Questions from standard input, one a line."""
    from xpert.errors import SettingsError

    found = [] if sys.stdin.isatty() else [line.strip() for line in sys.stdin if line.strip()]
    if not found:
        raise SettingsError("nothing was asked: give --prompt TEXT, or questions on standard input, one a line")
    return found


@contextmanager
def _both(terminal: Terminal, reference: ModelReference, adapter: Path | None, device: str) -> Iterator[LoadedModel]:
    """The base with the adapter on it, where there is one, loaded once."""
    with terminal.progress():
        from xpert.models.loading import adapted, load_model

        base = load_model(reference, device=device)
    if adapter is None:
        yield base
        return
    with adapted(base, adapter) as loaded:
        yield loaded


def _answers(
    loaded: LoadedModel, prompt: str, max_new_tokens: int, seed: int, *, alone: bool
) -> tuple[str, str | None]:
    """What the base answers, and what the personalized model does by the same seed; None where there is none."""
    from xpert.models.generation import generate

    if alone:
        return generate(loaded, [prompt], max_new_tokens=max_new_tokens, seed=seed)[0], None
    with loaded.model.disable_adapter():
        plain = generate(loaded, [prompt], max_new_tokens=max_new_tokens, seed=seed)[0]
    return plain, generate(loaded, [prompt], max_new_tokens=max_new_tokens, seed=seed)[0]


def _show(terminal: Terminal, prompt: str, name: str, plain: str, own: str | None) -> None:
    if terminal.json:
        return
    from rich.table import Table
    from rich.text import Text

    from xpert.printing import printable_name

    if own is None:
        terminal.show(Text(prompt, style="bold"), Text(plain), "")
        return
    table = Table(box=None, expand=True, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    table.add_column("base", ratio=1, overflow="fold")
    table.add_column(Text(printable_name(name)), ratio=1, overflow="fold")
    table.add_row(Text(plain), Text(own))
    terminal.show(Text(prompt, style="bold"), table, "")
