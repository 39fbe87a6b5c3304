"""Options of `xpert image`, each described once. Knows Typer only, so that help is fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from xpert.cli.options import Group, option

Method = Literal["full", "lora"]
Schedule = Literal["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"]
Precision = Literal["no", "fp16", "bf16"]
_DATA, _MODEL, _TUNING = "Data", "Models", "Tuning"

Pictures = Annotated[
    str,
    typer.Argument(
        metavar="PICTURES",
        help="Pictures with captions: a folder with metadata.jsonl, Parquet, or a Hugging Face dataset. They stay on "
        "this machine.",
    ),
]
ImagePool = Annotated[
    Path | None,
    typer.Option(
        "--pool",
        metavar="FOLDER",
        envvar="XPERT_IMAGE_POOL",
        show_default="the image pool of the package",
        help="The pool of image models.",
        rich_help_panel=_MODEL,
    ),
]
ImageBase = Annotated[
    str | None,
    typer.Option(
        "--base",
        metavar="MODEL",
        help="Base pipeline: a folder or a Hugging Face name.",
        show_default="that of the pool, else xpert/diffusion",
        rich_help_panel=_MODEL,
    ),
]
Vision = Annotated[
    str | None,
    typer.Option(
        "--vision",
        metavar="MODEL",
        help="Vision-language model: proposes words with --base, writes captions where pictures have none.",
        rich_help_panel=_MODEL,
    ),
]
MostImages = Annotated[
    int | None,
    typer.Option("--most", min=1, metavar="N", help="Models at most.", show_default="3", rich_help_panel=_MODEL),
]
CaptionWriter = Annotated[
    str | None,
    typer.Option(
        "--vision",
        metavar="MODEL",
        help="Vision-language model that writes captions where pictures have none.",
        rich_help_panel=_MODEL,
    ),
]
PersonSamples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        min=1,
        metavar="N",
        help="Read at most this many of a person's pictures.",
        show_default="50",
        rich_help_panel=_DATA,
    ),
]
CaptionSource = Annotated[
    str | None,
    typer.Option(
        "--captions",
        metavar="SOURCE",
        help="What is painted, with --base: a file, xpert/captions or a hub dataset.",
        show_default="the base's own, else xpert/captions",
        rich_help_panel=_DATA,
    ),
]

# How pictures are read; the names are those of `xpert.data.pictures.open_pictures`.
PICTURES: Group = {
    "image_column": (option("--image-column", "Column of the pictures.", str, _DATA), "image"),
    "caption_column": (option("--caption-column", "Column of the captions.", str, _DATA), "text"),
    "split": (option("--split", "Split of the dataset.", str, _DATA), "train"),
}

# Numbers of a run; the names are those of `xpert.tuning.diffusion_settings.DiffusionSettings`.
DIFFUSION: Group = {
    name: (option("--" + name.replace("_", "-"), text, kind, _TUNING, shown), None)
    for name, kind, shown, text in (
        ("method", Method | None, "lora", "What is trained: lora or full."),
        ("rank", int | None, "8", "LoRA rank, where the start is the base."),
        ("alpha", int | None, "as rank", "LoRA alpha, where the start is the base."),
        ("resolution", int | None, "the pipeline's", "Width and height of the pictures, in pixels."),
        ("center_crop", bool | None, "", "Crop the middle, not anywhere."),
        ("random_flip", bool | None, "", "Mirror every second picture."),
        ("batch_size", int | None, "1", "Pictures in one forward pass."),
        ("accumulation_steps", int | None, "1", "Forward passes in one step."),
        ("gradient_checkpointing", bool | None, "", "Less memory, more time."),
        ("mixed_precision", Precision | None, "no", "no, fp16 or bf16; on a CPU always fp32."),
        ("max_steps", int | None, "500", "Optimizer steps."),
        ("epochs", int | None, "none", "Times every picture is seen, in place of steps."),
        ("save_every", int | None, "500", "Steps between two checkpoints."),
        ("learning_rate", float | None, "1e-4 for lora, 1e-5 for full", "Highest learning rate."),
        ("schedule", Schedule | None, "constant", "How the learning rate goes on."),
        ("warmup_steps", int | None, "0", "Steps of a linear warm-up."),
        ("max_grad_norm", float | None, "1", "Gradients are clipped to this length."),
        ("ema", bool | None, "", "Keep a moving average of the weights."),
        ("snr_gamma", float | None, "none", "Min-SNR weighting; 5 is usual."),
        ("validate_every", int | None, "100", "Steps between two validation paintings."),
        ("seed", int | None, "0", "Of everything that is drawn."),
    )
} | {
    "validation_prompts": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--validation-prompt", metavar="CAPTION", help="Painted on the way; may be given again.",
                rich_help_panel=_TUNING,
            ),
        ],
        None,
    )
}  # fmt: skip
