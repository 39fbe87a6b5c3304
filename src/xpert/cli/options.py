"""Options that several commands share, each described once. Knows Typer only, so that help is fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

_DATA, _TUNING, _OUTPUT, _MODEL = "Data", "Tuning", "Output", "Models"
Schedule = Literal["constant", "cosine", "linear"]
Dtype = Literal["auto", "float32", "bfloat16"]


def option(flag: str, text: str, kind: Any, panel: str, default: str = "") -> Any:
    """An option whose default is written into its help, since its own is None."""
    said = f"{text} Default {default}." if default else text
    named = panel == _DATA or (get_args(kind) and get_origin(get_args(kind)[0]) is Literal)
    metavar = None if kind == bool | None else "NAME" if named else "N"
    return Annotated[kind, typer.Option(flag, help=said, metavar=metavar, rich_help_panel=panel)]


Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.", rich_help_panel=_OUTPUT)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.", rich_help_panel=_OUTPUT)]
Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Also write a page for the browser.", rich_help_panel=_OUTPUT),
]

Pool = Annotated[
    Path | None,
    typer.Option(
        "--pool",
        metavar="FOLDER",
        envvar="XPERT_POOL",
        show_default="the pool of the package",
        help="The pool.",
        rich_help_panel=_MODEL,
    ),
]
Base = Annotated[
    str | None,
    typer.Option(
        "--base",
        metavar="MODEL",
        help="Base model: a folder, a GGUF file, a Hugging Face name, xpert/smollm2, ollama/NAME or lmstudio/NAME.",
        show_default="that of the adapter or pool, else xpert/base",
        rich_help_panel=_MODEL,
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.", rich_help_panel=_MODEL)]

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Personal data: a file (JSONL, JSON, CSV, Parquet, text, chat, mail), a folder, the name of a Hugging "
        "Face dataset, or a sample person such as @mia. It stays on this machine.",
    ),
]
Samples = Annotated[
    int,
    typer.Option("--samples", min=1, metavar="N", help="Explain at most this many samples.", rich_help_panel=_DATA),
]
Validation = Annotated[
    float,
    typer.Option(
        "--validation",
        help="Samples kept for validation: a share below 1, or a number of samples.",
        rich_help_panel=_DATA,
    ),
]

Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", metavar="FOLDER", help="Adapter folder to write; must not exist.", rich_help_panel=_OUTPUT
    ),
]
Fresh = Annotated[
    bool,
    typer.Option("--fresh", help="Throw away an unfinished run of the same folder first.", rich_help_panel=_TUNING),
]

Group = Mapping[str, tuple[Any, Any]]
"""Name of a parameter -> its annotation and default."""

# How personal data is read; the names are those of `xpert.read_samples`.
COLUMNS: Group = {
    "format": (option("--format", "auto, jsonl, json, csv, tsv, parquet, text or hub.", str, _DATA), "auto"),
    "prompt_column": (
        option("--prompt-column", "Column of what was asked, where its name is not understood.", str | None, _DATA),
        None,
    ),
    "response_column": (
        option(
            "--response-column", "Column of the person's text, where its name is not understood.", str | None, _DATA
        ),
        None,
    ),
    "me": (
        option("--me", "You among the authors of a chat or table; without it, they are listed.", str | None, _DATA),
        None,
    ),
}

# Numbers of a tuning run; the names are those of `xpert.TuningSettings`. None leaves the default to it; the help
# repeats that default, and a test compares the two.
TUNING: Group = {
    name: (option("--" + (flag or name).replace("_", "-"), text, kind, _TUNING, shown), None)
    for name, flag, kind, shown, text in (
        ("learning_rate", None, float | None, "0.001", "Highest learning rate."),
        ("schedule", None, Schedule | None, "constant", "Learning rate after the warm-up: constant, cosine or linear."),
        ("max_steps", None, int | None, "200", "Optimizer steps at most."),
        ("batch_size", None, int | None, "8", "Samples in one forward pass."),
        ("accumulation_steps", None, int | None, "1", "Forward passes in one step."),
        ("max_length_tokens", None, int | None, "256", "Longer samples are cut to this."),
        ("gradient_checkpointing", None, bool | None, "", "Less memory, more time."),
        ("rank", None, int | None, "8", "LoRA rank, where the start is the base."),
        ("alpha", None, float | None, "16", "LoRA alpha, where the start is the base."),
        ("dropout", None, float | None, "0", "LoRA dropout while training."),
        ("evaluate_every", None, int | None, "10", "Steps between two evaluations."),
        ("patience", None, int | None, "5", "Stop after so many evaluations without improvement; 0: never."),
        (
            "target_validation_loss",
            "target_loss",
            float | None,
            "none",
            "Stop at this validation loss.",
        ),
        ("save_every", None, int | None, "20", "Steps between two checkpoints."),
        ("dtype", None, Dtype | None, "auto", "Of the frozen base: auto, float32 or bfloat16."),
        ("seed", None, int | None, "0", "Of everything that is drawn."),
    )
}


def grouped(**groups: Group) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of whole groups; each group arrives as one mapping of that name.

    `@grouped(tuning=TUNING)` over `def tune(data, *, tuning)` makes a command with every option of TUNING.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        parameters = [p for p in signature(function, eval_str=True).parameters.values() if p.name not in groups]
        for group in groups.values():
            parameters += [
                Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
                for name, (annotation, default) in group.items()
            ]

        def command(**given: Any) -> None:
            packed = {name: {part: given.pop(part) for part in group} for name, group in groups.items()}
            function(**given, **packed)

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return command

    return decorate
