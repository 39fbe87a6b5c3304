"""Which layer of a U-Net a name of kohya-ss or civitai means: their files join a layer's path with underscores.

Knows names only. Two spellings are in use: that of diffusers, and that of the original Stable Diffusion code, in which
most files for XL are written.
"""

from __future__ import annotations

import re

_WORDS = sorted(
    (
        "down_blocks up_blocks mid_block attentions resnets downsamplers upsamplers transformer_blocks attn1 attn2 "
        "to_q to_k to_v to_out ff net proj proj_in proj_out conv conv1 conv2 conv_in conv_out conv_shortcut "
        "time_emb_proj time_embedding add_embedding linear_1 linear_2"
    ).split(),
    key=len,
    reverse=True,
)
_PIECE = re.compile(rf"(\d+|{'|'.join(_WORDS)})(?:_|$)")
_LAYERS_A_BLOCK = 2
_RESNET = {
    "in_layers_2": "conv1",
    "out_layers_3": "conv2",
    "emb_layers_1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
_OUTER = {
    "input_blocks_0_0": "conv_in",
    "out_2": "conv_out",
    "time_embed_0": "time_embedding.linear_1",
    "time_embed_2": "time_embedding.linear_2",
    "label_emb_0_0": "add_embedding.linear_1",
    "label_emb_0_2": "add_embedding.linear_2",
}
_ORIGINAL = re.compile(r"(?:(input|output)_blocks_(\d+)|middle_block)_(\d+)_(.+)")


def layer_of(name: str) -> str | None:
    """The layer of diffusers' U-Net, such as down_blocks.0.attentions.1.proj_in; None where it is none of one.

    Args:
        name: without "lora_unet_" and without the end that says which matrix it is.
    """
    if name in _OUTER:
        return _OUTER[name]
    if found := _ORIGINAL.fullmatch(name):
        side, number, place, rest = found[1], int(found[2] or 0), int(found[3]), found[4]
        return _inner(*_block(side, number, place, rest), rest)
    return _split(name)


def _block(side: str | None, number: int, place: int, rest: str) -> tuple[str, str]:
    """The block of an original number, and what stands at that place in it: a resnet, an attention or a resampler."""
    if side is None:
        return ("mid_block", "attentions.0") if place == 1 else ("mid_block", f"resnets.{place // 2}")
    size = _LAYERS_A_BLOCK + 1
    if side == "input":
        block, layer = divmod(number - 1, size)
        if rest == "op":
            return f"down_blocks.{block}", "downsamplers.0"
        return f"down_blocks.{block}", f"{'attentions' if place else 'resnets'}.{layer}"
    block, layer = divmod(number, size)
    if rest == "conv":
        return f"up_blocks.{block}", "upsamplers.0"
    return f"up_blocks.{block}", f"{'attentions' if place else 'resnets'}.{layer}"


def _inner(block: str, part: str, rest: str) -> str | None:
    if part.endswith("samplers.0"):
        return f"{block}.{part}.conv"
    inner = _RESNET.get(rest) if part.startswith("resnets") else _split(rest)
    return None if inner is None else f"{block}.{part}.{inner}"


def _split(name: str) -> str | None:
    """Words and numbers with dots between them."""
    pieces, place = [], 0
    while place < len(name):
        if (found := _PIECE.match(name, place)) is None:
            return None
        pieces.append(found[1])
        place = found.end()
    return ".".join(pieces) or None
