"""`xpert pool`: make a pool, fill it, look into it, explain it anew."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xpert.cli.options import Base, Device, Json, Pool, Quiet
from xpert.embedded import EMBEDDED_IMAGE_POOL, EMBEDDED_POOL

if TYPE_CHECKING:
    from collections.abc import Callable

    from xpert.cli.progress import Progress
    from xpert.pool import Pool as OpenPool
    from xpert.records import Explanation

app = typer.Typer(no_args_is_help=True, help="Make a pool of pLLMs, fill it, look into it.")
Rewriter = Literal["base", "summarizer"]
_LIKE = {"embedded": EMBEDDED_POOL, "embedded-images": EMBEDDED_IMAGE_POOL}


@app.command()
def create(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the new pool.")],
    like: Annotated[
        str,
        typer.Option(
            "--like",
            metavar="POOL",
            help="Take space and base of this pool: 'embedded', 'embedded-images', the folder of another one, or "
            "'none' for a pool of another base, whose space `xpert pool reindex` builds.",
        ),
    ] = "embedded",
    json: Json = False,
) -> None:
    """Start a new, empty pool for the base of the one it is made like; with --like none, for any base."""
    from xpert.cli.sources import pool_folder
    from xpert.cli.terminal import Terminal
    from xpert.errors import DuplicateError
    from xpert.pool import open_pool
    from xpert.pool.creating import create_pool, is_unfinished
    from xpert.pool.losses import refuse_lost
    from xpert.pool.setup import SETUP_FILE

    folder = folder.expanduser()
    refuse_lost(folder)
    if folder.exists() and not is_unfinished(folder):
        raise DuplicateError(f"{folder} exists already and is not empty: give another folder")
    words: tuple[str, ...] = ()
    base, taken = None, None
    if like != "none":
        with open_pool(_LIKE.get(like) or pool_folder(Path(like)), create=False, read_only=True) as model:
            taken = model.space_and_setup()
        words, base = taken[0].words, taken[1].base
    with create_pool(folder, taken) as made:
        setup = None if made.space_folder is None else str(made.space_folder / SETUP_FILE)
    terminal = Terminal(json)
    terminal.emit({"pool": str(folder.resolve()), "words": list(words), "base": base, "setup": setup})
    known = f" for models of {base}, explained in: {', '.join(words)}" if base else ", without a space yet"
    terminal.show(f"new pool {folder}{known}")
    terminal.show(f"next: xpert pool add ADAPTER --name NAME --pool {folder}" + ("" if base else " --base MODEL"))


@app.command()
def add(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="Adapter folder, as peft or diffusers write it.")],
    name: Annotated[str, typer.Option("--name", "-n", help="Its name in the pool.")],
    pool: Pool = None,
    base: Base = None,
    note: Annotated[str, typer.Option("--note", help="A line for people.")] = "",
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check an adapter, explain it and publish it in a pool."""
    from xpert.cli.sources import adapter_folder, base_folder, base_of, check_space_base, lasting_name, writing
    from xpert.cli.terminal import Terminal
    from xpert.errors import SettingsError
    from xpert.models.image_adapters import is_image_adapter
    from xpert.models.reference import ModelReference

    terminal, folder = Terminal(json, quiet), adapter_folder(adapter)
    pictures = is_image_adapter(folder)
    with writing(pool) as opened, terminal.progress(pictures=pictures) as progress:
        reference = ModelReference(base) if base is not None else base_of(opened)
        if reference is None:
            raise SettingsError("this pool does not know its base yet: give --base MODEL")
        check_space_base(opened, base, folder)
        explain = _explaining(opened, device, progress) if opened.has_space else None
        record = opened.add(
            folder,
            base_folder=base_folder(reference, folder),
            base_name=lasting_name(reference.model),
            name=name,
            explain=explain,
            note=note,
        )
    terminal.emit(record)
    if not json:
        from xpert.reporting.bars import record_view

        terminal.show(record_view(record, of="pictures" if pictures else "texts"))


@app.command("list")
def list_(pool: Pool = None, json: Json = False) -> None:
    """List the pLLMs of a pool with their strongest words."""
    from xpert.cli.pool_restoring import orphans_note
    from xpert.cli.sources import pool_folder, reading
    from xpert.cli.terminal import Terminal

    terminal = Terminal(json)
    with reading(pool) as opened:
        records, orphans = opened.list(), opened.orphans()
    terminal.emit({"pool": str(pool_folder(pool)), "records": records, "orphans": list(orphans)})
    if not json:
        from xpert.reporting.bars import pool_view

        terminal.show(pool_view(records))
        orphans_note(terminal, orphans, pool)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name in the pool.")],
    pool: Pool = None,
    json: Json = False,
) -> None:
    """Show the facts and the explanation of a pLLM."""
    from xpert.cli.image_pools import of_pictures
    from xpert.cli.sources import reading
    from xpert.cli.terminal import Terminal

    terminal = Terminal(json)
    with reading(pool) as opened:
        record = opened.get(name)
        pictures = record.explanation is not None and of_pictures(opened)
    terminal.emit(record)
    if not json:
        from xpert.reporting.bars import record_view

        terminal.show(record_view(record, of="pictures" if pictures else "texts"))


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name in the pool.")],
    pool: Pool = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Take a pLLM out of a pool and delete its files."""
    import sys

    from xpert.cli.sources import writing
    from xpert.cli.terminal import Terminal
    from xpert.errors import SettingsError

    terminal = Terminal(json)
    with writing(pool) as opened:
        opened.get(name)
        if not yes:
            if json or not sys.stdin.isatty():
                raise SettingsError(f"{name!r} would be deleted and there is nobody to ask: give --yes")
            typer.confirm(f"Delete {name} and its files?", abort=True, err=True)
        record = opened.remove(name)
    terminal.emit(record)
    terminal.show(f"removed {name}")


@app.command()
def reindex(
    pool: Pool = None,
    base: Base = None,
    summarizer: Annotated[
        str | None,
        typer.Option("--summarizer", metavar="MODEL", help="Instruct model that reads pairs of texts."),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", metavar="FOLDER", help="A sentence encoder instead, or 'packaged'."),
    ] = None,
    rewriter: Annotated[
        Rewriter | None, typer.Option("--rewriter", help="Who restyles texts for the sub-vectors of words.")
    ] = None,
    exact_words: Annotated[
        int | None,
        typer.Option(
            "--exact-words", metavar="N", min=0, help="Words whose sub-vectors are made of restyled texts; 6 at first."
        ),
    ] = None,
    clip: Annotated[
        str | None, typer.Option("--clip", metavar="MODEL", help="For image models: the CLIP that reads pictures.")
    ] = None,
    captions: Annotated[
        str | None,
        typer.Option(
            "--captions",
            metavar="SOURCE",
            help="For image models: what is painted: a file, xpert/captions or a hub dataset; at first the base's own, "
            "else xpert/captions.",
        ),
    ] = None,
    num_sample: Annotated[
        int | None, typer.Option("--num-sample", min=1, help="For image models: captions that are painted.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="For image models: denoising steps; 50 at first.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", min=0, help="For image models: guidance scale; 7.5 at first.")
    ] = None,
    vision: Annotated[
        str | None,
        typer.Option(
            "--vision",
            metavar="MODEL",
            help="For image models: the vision-language model that proposes words; 'none': a vocabulary does.",
        ),
    ] = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build the space of a pool anew over all its pLLMs, and explain each in it.

    A pool without a space needs --base and either --summarizer or --encoder, for image models --clip; otherwise what is
    not given stays.
    """
    from xpert.cli.image_pools import PictureOptions, of_pictures, picture_setup, refuse_other_kind
    from xpert.cli.pool_restoring import orphans_note
    from xpert.cli.sources import writing
    from xpert.cli.terminal import Terminal
    from xpert.cli.text_pools import text_setup

    terminal, painted = Terminal(json, quiet), PictureOptions(clip, captions, num_sample, steps, guidance, vision)
    read = {"summarizer": summarizer, "encoder": encoder, "rewriter": rewriter, "exact_words": exact_words}
    with writing(pool) as opened:
        pictures = of_pictures(opened, base)
        refuse_other_kind(pictures, read, asdict(painted))
        if pictures:
            setup = picture_setup(opened, base, painted)
        else:
            setup = text_setup(opened, base, summarizer, encoder, rewriter, exact_words)
        with terminal.progress(pictures=pictures) as progress:
            from xpert.opening import rebuild

            built = rebuild(opened, setup, device=device, on_progress=progress.stage)
        records, orphans = opened.list(), opened.orphans()
    cosine = built.calibration.cosine_held_out if built.calibration else None
    words = list(built.space.words)
    terminal.emit(
        {
            "words": words,
            "exact_words": list(built.exact_words),
            "fast_path_cosine": cosine,
            "newcomers": list(built.newcomers),
            "orphans": list(orphans),
            "records": records,
        }
    )
    if not json:
        from xpert.reporting.bars import pool_view

        if built.newcomers:
            terminal.note(f"added meanwhile, explained too, with no say in the words: {', '.join(built.newcomers)}")
        orphans_note(terminal, orphans, pool)
        terminal.show(f"words: {', '.join(words)}", "", pool_view(records))


def _explaining(pool: OpenPool, device: str, progress: Progress) -> Callable[[Path], Explanation]:
    """Explains an adapter in the space of a pool; the models are loaded when it is called, after the pool's checks."""

    def explain(adapter: Path) -> Explanation:
        from xpert.opening import open_adapter_explainer

        return open_adapter_explainer(pool, device=device).explain_adapter(adapter, on_progress=progress.stage)

    return explain
