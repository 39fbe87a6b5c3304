"""`xpert pool restore` and `discard`: adapters that no row of the catalog names come back, or go for good."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xpert.cli.options import Base, Json, Pool

if TYPE_CHECKING:
    from xpert.cli.terminal import Terminal
    from xpert.pool.restoring import Base as PoolBase
    from xpert.pool.restoring import Restored


def restore(
    pool: Pool = None,
    base: Base = None,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="Make a new catalog even if the old one can be read, as that of another pool can."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    json: Json = False,
) -> None:
    """Bring a lost or damaged catalog back from the adapters of a pool; the old one is kept aside.

    Names come from what can be read of the old catalog, else from the adapters' cards; explanations that are lost come
    back with `xpert pool reindex`.
    """
    from xpert.cli.commands import command_line
    from xpert.cli.own_pools import owned_folder
    from xpert.cli.terminal import Terminal
    from xpert.pool.restoring import restore as run

    terminal, folder = Terminal(json), owned_folder(pool)
    done = run(folder, _base(folder, base), anew=anew, dry=dry_run)
    terminal.emit(
        {
            "pool": str(folder),
            "dry_run": dry_run,
            "catalog": done.catalog,
            "aside": None if done.aside is None else str(done.aside),
            "kept": list(done.kept),
            "restored": [{"name": name, "adapter": digest} for name, digest in done.restored],
            "left": [{"adapter": digest, "why": why} for digest, why in done.left],
            "missing": list(done.missing),
            "space": done.space,
        }
    )
    if not json:
        _show(terminal, done, dry_run)
        if done.restored and not dry_run:
            terminal.show("next: " + command_line("pool", "reindex", pool=folder))


def discard(
    adapters: Annotated[
        list[str] | None, typer.Argument(metavar="DIGEST...", help="Eight or more first digits of each.")
    ] = None,
    pool: Pool = None,
    all_: Annotated[bool, typer.Option("--all", help="All that no row names.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete adapters that no row of the catalog names, as `xpert pool list` shows them."""
    import sys

    from xpert.cli.sources import writing
    from xpert.cli.terminal import Terminal
    from xpert.errors import SettingsError
    from xpert.pool.discarding import discard as run

    if bool(adapters) == all_:
        raise SettingsError("which adapters are to go? Give their digests, or --all")
    terminal = Terminal(json)
    with writing(pool) as opened:
        if not yes:
            if json or not sys.stdin.isatty():
                raise SettingsError("adapters would be deleted and there is nobody to ask: give --yes")
            typer.confirm("Delete these adapters for good?", abort=True, err=True)
        gone = run(opened, None if all_ else adapters)
    terminal.emit({"discarded": list(gone)})
    terminal.show(f"deleted {len(gone)} adapter{'' if len(gone) == 1 else 's'}")


def orphans_note(terminal: Terminal, orphans: Sequence[str], pool: Path | None) -> None:
    """Tell of adapters that no row names, and what can be done."""
    from xpert.cli.commands import command_line

    if not orphans:
        return
    shown = ", ".join(digest[:12] for digest in orphans[:8]) + (", ..." if len(orphans) > 8 else "")
    terminal.note(
        f"{len(orphans)} without a row in the catalog ({shown}): `{command_line('pool', 'restore', pool=pool)}` brings "
        f"them back, `{command_line('pool', 'discard', pool=pool)} DIGEST` deletes them"
    )


def _base(folder: Path, base: str | None) -> PoolBase | None:
    """The base that was named, for adapters of the kind that lie in the pool."""
    from xpert.cli.sources import base_folder, lasting_name
    from xpert.models.image_adapters import is_image_adapter
    from xpert.models.pipelines import pipeline_digest
    from xpert.models.reference import ModelReference, model_digest
    from xpert.pool.losses import ARTIFACTS_FOLDER
    from xpert.pool.restoring import Base as PoolBase
    from xpert.pool.setup import is_space

    if base is None:
        return None
    entries = sorted((folder / ARTIFACTS_FOLDER).glob("[0-9a-f]" * 64))
    first = next((entry for entry in entries if not is_space(entry)), folder)
    place = base_folder(ModelReference(base), first)
    digest = pipeline_digest(place) if is_image_adapter(first) else model_digest(place)
    return PoolBase(digest, lasting_name(base), place)


def _show(terminal: Terminal, done: Restored, dry: bool) -> None:
    would = "would be " if dry else ""
    terminal.show(f"the catalog is {done.catalog}; {len(done.kept)} of its rows {would}kept")
    for name, digest in done.restored:
        terminal.show(f"{would}restored: {name} ({digest[:12]})")
    for digest, why in done.left:
        terminal.show(f"left without a row: {digest[:12]}: {why}")
    if done.space is not None:
        terminal.show(f"{would}restored: the space ({done.space[:12]})")
    for name in done.missing:
        terminal.show(f"files are missing or damaged: {name}")
    if done.missing and done.left:
        terminal.show("is it the catalog of another pool? --anew makes one for the adapters that are here")
    if done.aside is not None:
        terminal.show(f"the old catalog: {done.aside}")
