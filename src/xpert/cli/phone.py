"""`xpert export` and `xpert phone`: a folder that any ONNX Runtime trains, training from it, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xpert.cli.options import COLUMNS, TUNING, Base, Data, Fresh, Json, Out, Quiet, Validation, grouped

if TYPE_CHECKING:
    from xpert.runtime.manifest import Manifest
    from xpert.runtime.training import DeviceResult

RuntimeOption = Annotated[
    Literal["onnx", "torch"],
    typer.Option("--runtime", metavar="NAME", help="What computes: onnx, or torch as the reference."),
]
Threads = Annotated[int, typer.Option("--threads", min=0, metavar="N", help="Threads of onnx; 0: one a core.")]
Exported = Annotated[Path, typer.Argument(metavar="EXPORT", help="Folder that `xpert export` wrote.")]
_NOT_ON_DEVICES = ("rank", "alpha", "dropout", "dtype")
_TUNING = {name: option for name, option in TUNING.items() if name not in _NOT_ON_DEVICES}

app = typer.Typer(help="Train and answer from an exported folder, without torch.", no_args_is_help=True)


def export(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write; must not exist.")],
    base: Base = None,
    adapter: Annotated[
        Path | None, typer.Option("--adapter", metavar="FOLDER", help="Adapter to start from; its own rank and layers.")
    ] = None,
    rank: Annotated[int, typer.Option("--rank", min=1, help="LoRA rank of a fresh adapter.")] = 8,
    alpha: Annotated[int, typer.Option("--alpha", min=1, help="LoRA alpha of a fresh adapter.")] = 16,
    seed: Annotated[int, typer.Option("--seed", help="Of a fresh adapter.")] = 0,
    max_length_tokens: Annotated[
        int, typer.Option("--max-length-tokens", min=8, metavar="N", help="Longest sequence that the graphs read.")
    ] = 1024,
    int8: Annotated[
        bool, typer.Option("--int8", help="Keep the base as int8: a quarter of the size, slightly off.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert a base model with LoRA to a folder that ONNX Runtime trains, without torch: in Python or in a browser."""
    from dataclasses import replace

    from xpert.cli.bases import base_for
    from xpert.cli.sources import PACKAGED_BASE, adapter_folder, free_folder
    from xpert.cli.terminal import Terminal
    from xpert.models.reference import ModelReference

    terminal, out = Terminal(json, quiet), free_folder(out)
    folder = None if adapter is None else adapter_folder(adapter)
    named = ModelReference(base or PACKAGED_BASE) if folder is None else base_for(folder, base, ask=not json)
    reference = replace(named, adapter=None if folder is None else str(folder))
    with terminal.progress() as progress:
        progress.stage("exporting", 0, 1)
        from xpert.export import ExportSettings
        from xpert.export import export as run
        from xpert.tuning.carrying import device_notes

        settings = ExportSettings(rank=rank, alpha=alpha, seed=seed, max_length_tokens=max_length_tokens, int8=int8)
        manifest = run(reference, out, settings)
        progress.stage("exporting", 1, 1)
    notes = device_notes(manifest.adapter.dropout_left_out)
    terminal.emit({"out": str(out), "manifest": manifest, "notes": notes})
    for note in notes:
        terminal.note(note)
    if not json:
        from rich.text import Text

        terminal.show(_facts(manifest, Text(str(out), style="bold")), f"\ntry it: xpert phone train {out} @mia -o mine")


@app.command()
def check(
    exported: Exported, runtime: RuntimeOption = "onnx", threads: Threads = 0, json: Json = False, quiet: Quiet = False
) -> None:
    """Check an exported folder: every file's digest, then the golden batch on a runtime."""
    from xpert.cli.terminal import Terminal
    from xpert.runtime.manifest import read_manifest
    from xpert.runtime.training import checked_runtime

    terminal = Terminal(json, quiet)
    manifest = read_manifest(exported)
    with terminal.progress(libraries=runtime == "torch"):
        found = [checked_runtime(runtime, exported, manifest, threads, recompute=way)[1] for way in (False, True)]
    terminal.emit({"folder": str(exported), "golden_difference": max(found), "manifest": manifest})
    if not json:
        terminal.show(_facts(manifest, f"right: losses within {max(found):.1e} of the reference"))


@app.command()
@grouped(columns=COLUMNS, tuning=_TUNING)
def train(
    exported: Exported,
    data: Data,
    out: Out,
    adapter: Annotated[
        Path | None, typer.Option("--adapter", metavar="FOLDER", help="Start from this adapter, not the export's own.")
    ] = None,
    runtime: RuntimeOption = "onnx",
    threads: Threads = 0,
    memory_budget: Annotated[
        int | None, typer.Option("--memory-budget", min=1, metavar="MIB", help="Memory that a step may take.")
    ] = None,
    validation: Validation = 0.2,
    fresh: Fresh = False,
    json: Json = False,
    quiet: Quiet = False,
    *,
    columns: Mapping[str, Any],
    tuning: Mapping[str, Any],
) -> None:
    """Train an exported adapter on a person's data, and write it as a plain peft adapter.

    The same command, run again, resumes an interrupted run where it stopped.
    """
    from xpert.cli.resuming import resumable
    from xpert.cli.sources import free_folder, person_samples
    from xpert.cli.terminal import Terminal
    from xpert.cli.tuning import tuning_settings
    from xpert.data import split_samples
    from xpert.runtime.training import train_exported

    settings, terminal, out = tuning_settings(tuning), Terminal(json, quiet), free_folder(out)
    share = int(validation) if validation >= 1 and validation == int(validation) else validation
    learned, held = split_samples(person_samples(data, columns), validation=share, seed=settings.seed)
    with resumable(out), terminal.progress(libraries=runtime == "torch") as progress:
        result = train_exported(
            exported,
            learned,
            held,
            out,
            settings,
            adapter=adapter,
            runtime=runtime,
            threads=threads,
            memory_budget_bytes=None if memory_budget is None else memory_budget * 2**20,
            on_step=progress.step,
            fresh=fresh,
        )
    notes = _dropout_notes(exported, adapter)
    terminal.emit({"settings": settings, **asdict(result), "notes": notes})
    for note in notes:
        terminal.note(note)
    if not json:
        _show(terminal, result)


@app.command()
def ask(
    exported: Exported,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What is asked.")],
    adapter: Annotated[
        Path | None, typer.Option("--adapter", metavar="FOLDER", help="Answer with this adapter.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, metavar="N")] = 192,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="0: always the most probable.")] = 0.8,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    runtime: RuntimeOption = "onnx",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Answer a prompt from an exported folder."""
    from xpert.cli.terminal import Terminal
    from xpert.runtime.adapters import read_adapter
    from xpert.runtime.interface import Answering
    from xpert.runtime.manifest import read_manifest
    from xpert.runtime.tokens import Tokens
    from xpert.runtime.training import open_runtime

    manifest = read_manifest(exported)
    vector = None if adapter is None else read_adapter(adapter, exported, manifest)
    tokens, opened = Tokens(exported, manifest.prompt), open_runtime(runtime, exported, manifest, threads)
    if vector is not None:
        opened.write_adapter(vector)
    how = Answering(max_new_tokens, temperature, seed=seed, stops=frozenset(manifest.prompt.stops))
    text = tokens.decode(opened.generate(tokens.ask(prompt), how))
    terminal = Terminal(json)
    terminal.emit({"prompt": prompt, "answer": text})
    terminal.show(text)


@app.command()
def adopt(
    exported: Exported,
    trained: Annotated[
        Path, typer.Argument(metavar="FILE", help="What a device sent back: its state or its adapter, safetensors.")
    ],
    out: Out,
    json: Json = False,
) -> None:
    """Turn weights that came back from a device into a plain peft adapter."""
    from xpert.cli.sources import free_folder
    from xpert.cli.terminal import Terminal
    from xpert.runtime.adopting import adopt as run

    terminal, out = Terminal(json), free_folder(out)
    run(exported, trained, out)
    terminal.emit({"adapter": str(out)})
    terminal.show(f"adapter {out}\n\ntry it: xpert chat --adapter {out}")


@app.command()
def serve(
    exported: Exported,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8000,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0: every device of the local network.")
    ] = "127.0.0.1",
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="For HTTPS; other devices can do less without."),
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Of the certificate.")] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="NAME", help="Name under which it is reached, as in a certificate; repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Serve the page that trains in a browser, until Ctrl-C. What a person gives it never leaves their browser."""
    from xpert.cli.inviting import invite
    from xpert.cli.terminal import Terminal
    from xpert.errors import SettingsError
    from xpert.runtime.serving import Certificate, PageServer

    if (certificate is None) != (key is None):
        raise SettingsError("--certificate and --key belong together: give both, or none")
    pair = None if certificate is None or key is None else Certificate(certificate, key)
    terminal = Terminal(json)
    with PageServer(exported, host=host, port=port, certificate=pair, names=name or ()) as server:
        invite(terminal, server, encrypted=pair is not None)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            terminal.show("ended")


def _dropout_notes(exported: Path, adapter: Path | None) -> tuple[str, ...]:
    """What a device does not train as the start was tuned."""
    from xpert.models.adapters import inspect_adapter
    from xpert.runtime.manifest import read_manifest
    from xpert.tuning.carrying import device_notes

    if adapter is not None:
        return device_notes(inspect_adapter(adapter).settings.dropout)
    return device_notes(read_manifest(exported, verify=False).adapter.dropout_left_out)


def _facts(manifest: Manifest, last: Any) -> Any:
    """What is in an exported folder, for people."""
    from rich.table import Table
    from rich.text import Text

    from xpert.reporting.wording import size

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    base, adapter = manifest.base, manifest.adapter
    table.add_row("base", Text(f"{base.name} ({base.family}, {base.dtype})"))
    if base.dtype != "float32":
        said = f"weights off by {base.weight_error:.2%}, loss by {base.loss_error:.4f} nats a token"
        table.add_row("rounding", Text(said))
    table.add_row("adapter", Text(f"rank {adapter.rank}, alpha {adapter.alpha:g}, {size(4 * adapter.size)}"))
    table.add_row("length", Text(f"{manifest.length_tokens} tokens at most"))
    plain, sparing = (size(manifest.memory.estimate(8, 128, recompute=way)) for way in (False, True))
    said = f"about {plain} for a step of 8 x 128 tokens, {sparing} with --gradient-checkpointing"
    table.add_row("memory", Text(said))
    table.add_row("files", Text(size(sum(file.size_bytes for file in manifest.files.values()))))
    table.add_row("folder" if isinstance(last, Text) else "golden batch", last)
    return table


def _show(terminal: Any, result: DeviceResult) -> None:
    """What a run did, and what can be done with it."""
    from rich.table import Table
    from rich.text import Text

    from xpert.reporting.wording import duration

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    if result.initial_loss is not None and result.best_loss is not None:
        table.add_row("loss", f"{result.initial_loss:.3f} to {result.best_loss:.3f} at step {result.best_step}")
    reasons = {"target": "target reached", "plateau": "no more improvement", "max_steps": "all steps taken"}
    table.add_row("steps", f"{result.steps} in {duration(result.seconds)}, {reasons[result.stopped]}")
    table.add_row("samples", str(result.samples_seen))
    table.add_row("golden batch", f"right, within {result.golden_difference:.1e}")
    table.add_row("adapter", Text(str(result.out), style="bold"))
    terminal.show(table, f"\ntry it: xpert chat --adapter {result.out}")
