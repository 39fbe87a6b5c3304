"""`xpert convert`: adapters of other programs, kohya-ss and mlx-lm, become plain folders of diffusers and peft."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from xpert.cli.options import Json, Out


def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="A LoRA in one .safetensors file (kohya-ss, civitai), or a folder."),
    ],
    out: Out,
    unet_only: Annotated[
        bool, typer.Option("--unet-only", help="Leave out what a file changes in text encoders.")
    ] = False,
    json: Json = False,
) -> None:
    """Bring an adapter of kohya-ss, civitai or mlx-lm to the format that peft and diffusers read; it stays the same.

    Ranks and alphas of single layers are kept.
    """
    from xpert.cli.sources import free_folder
    from xpert.cli.terminal import Terminal
    from xpert.errors import SettingsError
    from xpert.models.foreign_adapters import is_mlx_adapter
    from xpert.models.kohya import convert_kohya, kohya_file
    from xpert.models.mlx_adapters import convert_mlx
    from xpert.printing import printable_name

    terminal, source, out = Terminal(json), source.expanduser(), free_folder(out)
    if is_mlx_adapter(source):
        kind = "mlx-lm"
        convert_mlx(source, out)
    elif (file := kohya_file(source)) is not None:
        kind = "kohya-ss"
        convert_kohya(file, out, unet_only=unet_only)
    else:
        raise SettingsError(
            f"{source} is no adapter of mlx-lm, and no single .safetensors file of a LoRA as kohya-ss writes it: "
            "adapters of peft and diffusers need no converting"
        )
    terminal.emit({"adapter": str(out), "from": kind})
    terminal.show(f"adapter {printable_name(out, 4096)}, from {kind}")


def opened_adapter(path: Path) -> Path:
    """The folder of an adapter that was named: itself, or what a LoRA in one file was converted to.

    What is converted lies in XPerT's cache, by the digest of its file, and is made once.

    Raises:
        MissingModelError, DamagedModelError: it is such a file, and cannot be converted.
        StorageError: the disk refused.
    """
    from xpert.embedded import cache_folder
    from xpert.errors import SettingsError
    from xpert.models.kohya import convert_kohya, kohya_file
    from xpert.models.reference import file_digest
    from xpert.writing import private_folder

    path = path.expanduser()
    if (file := kohya_file(path)) is None:
        return path
    cache = cache_folder() / "converted"
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip(".-")[:80] or "lora"
    place = cache / file_digest(file) / name
    if not place.is_dir():
        private_folder(cache)
        try:
            convert_kohya(file, place)
        except SettingsError:  # another program was faster
            if not place.is_dir():
                raise
    return place
