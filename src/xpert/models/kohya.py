"""LoRAs in one file, as kohya-ss writes them and civitai spreads them, become LoRAs of diffusers; nothing is lost.

Such a file has down (r, in, ...), up (out, r, ...) and alpha of every layer, and adds alpha / r up down to its weights.
Ranks and alphas may differ from layer to layer, and all are kept: diffusers reads them from the file's metadata.
Knows files; opens no pipeline.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xpert.errors import DamagedModelError, MissingModelError
from xpert.models.cards import CARD
from xpert.models.folders import whole_folder
from xpert.models.headers import read_header
from xpert.models.image_adapters import LORA_WEIGHTS
from xpert.models.image_lora import peft_facts
from xpert.models.kohya_names import layer_of
from xpert.models.magnitudes import check_magnitudes, read_magnitudes
from xpert.models.reference import file_digest
from xpert.printing import printable

if TYPE_CHECKING:
    import torch

_KOHYA = re.compile(r"lora_(?P<part>unet|te\d?)_(?P<name>.+?)\.(?P<side>lora_down\.weight|lora_up\.weight|lora_mid\.weight|alpha)")  # noqa: E501  # fmt: skip
_DOTTED = re.compile(r"(?P<part>unet|text_encoder(?:_2)?)\.(?P<name>.+?)\.(?P<side>lora_A\.weight|lora_B\.weight|lora\.down\.weight|lora\.up\.weight|alpha)")  # noqa: E501  # fmt: skip
_SIDES = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_mid.weight": "mid",
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora.down.weight": "down",
    "lora.up.weight": "up",
    "alpha": "alpha",
}
_OTHER = {
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "oft_": "OFT",
    "a1.weight": "GLoRA",
    ".diff": "a full difference",
    "on_input": "IA3",
}
_TEXT_PARTS = {"te": "text encoder", "te1": "first text encoder", "te2": "second text encoder",
               "text_encoder": "text encoder", "text_encoder_2": "second text encoder"}  # fmt: skip
_OTHER_BASES = {"double_blocks": "Flux", "single_blocks": "Flux", "joint_blocks": "Stable Diffusion 3",
                "transformer_blocks_0_attn_add": "Stable Diffusion 3"}  # fmt: skip
_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class _Layer:
    """One layer's matrices: A is (r, in, ...), B is (out, r, ...)."""

    a: torch.Tensor
    b: torch.Tensor
    alpha: float

    @property
    def rank(self) -> int:
        return int(self.a.shape[0])


def kohya_file(path: Path) -> Path | None:
    """The file of a LoRA that is to be converted: the path itself, or the only one in a folder; None: there is none."""
    if path.is_dir():
        if (path / LORA_WEIGHTS).is_file():
            found = [path / LORA_WEIGHTS]
        else:
            found = [file for file in path.glob(f"*{_SUFFIX}") if not file.name.startswith(("adapter", "model"))]
        path = found[0] if len(found) == 1 else path
    if path.suffix != _SUFFIX or not path.is_file():
        return None
    names = [entry.name for entry in read_header(path)]
    kohya = any(name.startswith(("lora_unet_", "lora_te")) for name in names)
    return path if kohya or any(_is_alpha_of_diffusers(name) for name in names) else None


def _is_alpha_of_diffusers(name: str) -> bool:
    found = _DOTTED.fullmatch(name)
    return found is not None and found["side"] == "alpha"


def convert_kohya(file: Path, out: Path, *, unet_only: bool = False) -> Path:
    """Write the LoRA of a file of kohya-ss or civitai as a folder that diffusers reads, of the same difference.

    Args:
        file: safetensors.
        out: folder to write; must be free.
        unet_only: leave out what the file changes in text encoders; the result then paints something else.

    Returns:
        `out`.

    Raises:
        MissingModelError: the file cannot be read.
        DamagedModelError: damaged, another method than LoRA, another base than a U-Net, or text encoders are changed.
        SettingsError: `out` is taken.
        StorageError: the disk refused; nothing is left.
    """
    from safetensors.torch import save_file

    layers = _read(file, unet_only)
    ranks = {name: layer.rank for name, layer in layers.items()}
    alphas = {name: layer.alpha for name, layer in layers.items()}
    facts = peft_facts(ranks, alphas)
    tensors: dict[str, torch.Tensor] = {}
    for name, layer in layers.items():
        tensors |= {f"unet.{name}.lora_A.weight": layer.a, f"unet.{name}.lora_B.weight": layer.b}
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps({f"unet.{k}": v for k, v in facts.items()})}
    with whole_folder(out) as fresh:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, fresh / LORA_WEIGHTS, metadata)
        (fresh / CARD).write_text(_card(file_digest(file), unet_only), "utf-8")
    return out


def _read(file: Path, unet_only: bool) -> dict[str, _Layer]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    entries = read_header(file)
    sorted_out = _sorted_out([entry.name for entry in entries], file, unet_only)
    found = read_magnitudes(file, entries)
    try:
        tensors = load_file(file)
    except OSError as error:
        raise MissingModelError(f"{file} cannot be read ({error.strerror or error}): check path and rights") from error
    except SafetensorError as error:
        raise DamagedModelError(f"{file} cannot be read ({error}): download or save it again") from error
    layers = {
        layer: _layer({side: tensors[name] for side, name in sides.items()}, layer, file)
        for layer, sides in sorted_out.items()
    }
    whole = {name: of for name, of in found.items() if not name.endswith(".alpha")}
    plain = ((layer, sides) for layer, sides in sorted_out.items() if "mid" not in sides)
    scaled = ((layer, sides["down"], sides["up"], layers[layer].alpha / layers[layer].rank) for layer, sides in plain)
    check_magnitudes(file, whole, scaled)
    return layers


def _sorted_out(names: list[str], file: Path, unet_only: bool) -> dict[str, dict[str, str]]:
    """Layer -> side -> name of its tensor, of the U-Net alone."""
    layers: dict[str, dict[str, str]] = {}
    texts: Counter[str] = Counter()
    for name in names:
        found = _KOHYA.fullmatch(name) or _DOTTED.fullmatch(name)
        if found is None:
            raise _unread(file, name)
        if found["part"] != "unet":
            texts[_TEXT_PARTS.get(found["part"], "text encoder")] += found["side"] == "alpha" or "up" in found["side"]
            continue
        layer = found["name"] if name.startswith("unet.") else layer_of(found["name"])
        if layer is None:
            other = next((base for part, base in _OTHER_BASES.items() if part in name), None)
            of = f"a LoRA of {other}" if other else f"of a layer {printable(found['name'], 100)!r} that no U-Net has"
            raise DamagedModelError(f"{file} is {of}: give one of Stable Diffusion 1.x, 2.x or XL")
        side = _SIDES[found["side"]]
        if side in layers.setdefault(layer, {}):
            raise DamagedModelError(f"{file}: layer {layer!r} has {side} twice: download or save it again")
        layers[layer][side] = name
    if texts and not unet_only:
        parts = " and ".join(f"the {part}" for part in texts)
        raise DamagedModelError(
            f"{file} changes {parts} besides the U-Net, and only the U-Net is personalized here: "
            f"`xpert convert {file} --out FOLDER --unet-only` leaves that out, and then it paints something else"
        )
    if not layers:
        raise DamagedModelError(f"{file} holds no LoRA of a U-Net: give one of Stable Diffusion 1.x, 2.x or XL")
    return layers


def _unread(file: Path, name: str) -> DamagedModelError:
    kind = next((kind for mark, kind in _OTHER.items() if mark in name), None)
    what = f"is {kind}" if kind else "is neither down, up nor alpha of a LoRA"
    return DamagedModelError(
        f"{file}: tensor {printable(name, 200)!r} {what}; LoRA and LoCon are read: train one of those, or bring it to "
        "a LoRA with the tools of LyCORIS"
    )


def _layer(sides: Mapping[str, torch.Tensor], layer: str, file: Path) -> _Layer:
    """Matrices of a layer as diffusers has them; a kernel in the middle (Tucker) goes into A, which changes nothing."""
    import torch

    if not {"down", "up"} <= sides.keys():
        raise DamagedModelError(f"{file}: layer {layer!r} needs one down and one up: download or save it again")
    down, up = sides["down"], sides["up"]
    if (mid := sides.get("mid")) is not None:
        if mid.ndim != 4 or mid.shape[1] != down.shape[0] or up.shape[1] != mid.shape[0]:
            raise DamagedModelError(
                f"{file}: layer {layer!r} has a lora_mid of shape {tuple(mid.shape)}: save it again"
            )
        down = torch.einsum("rskl,si->rikl", mid.float(), down.float().flatten(1)).to(torch.float32)
        up = up.float().reshape(*up.shape[:2], 1, 1)
    if min(down.ndim, up.ndim) < 2 or 0 in (*down.shape, *up.shape) or up.shape[1] != down.shape[0]:
        raise DamagedModelError(
            f"{file}: down and up of layer {layer!r} have shapes {tuple(down.shape)} and {tuple(up.shape)}, which "
            "share no rank: download or save it again"
        )
    given = sides.get("alpha")
    if given is not None and given.numel() != 1:
        raise DamagedModelError(f"{file}: alpha of layer {layer!r} is no single number: download or save it again")
    alpha = 0.0 if given is None else float(given.reshape(()))
    if alpha < 0:
        raise DamagedModelError(f"{file}: alpha of layer {layer!r} is {alpha:g}; it must be above 0: save it again")
    return _Layer(down, up, alpha or float(down.shape[0]))  # without alpha, or with 0, the scale is 1, as in kohya-ss


def _card(digest: str, unet_only: bool) -> str:
    left_out = " What it changed in text encoders is left out." if unet_only else ""
    return (
        f"---\nlibrary_name: diffusers\ntags:\n- lora\n- xpert\nxpert:\n  converted_from_sha256: {digest}\n---\n\n"
        f"# A LoRA of a U-Net\n\nConverted from a single file of kohya-ss or civitai, with every layer's own rank and "
        f"alpha.{left_out}\n"
    )
