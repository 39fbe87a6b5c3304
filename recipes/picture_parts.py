"""The parts of the embedded image models that are made rather than trained: tokenizer and autoencoder.

Knows how captions become tokens (any text does, byte by byte if need be), and how weights are set by hand
so that a plain AutoencoderKL takes the mean of every 16 x 16 pixels and paints such squares back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from pictures import GRID, PLACES, SHAPES, STYLES

END, START, STOP = "</w>", "<|startoftext|>", "<|endoftext|>"
LONGEST = 32
LATENTS, SCALING = 4, 0.4
"""Latents have this deviation for the U-Net: at 1, large areas of one colour would show through any noise."""
CHANNELS, ANCHOR = 8, 64.0
"""The autoencoder's channels: +r +g +b -r -g -b, and +-ANCHOR, which hold its group norms still."""


def make_tokenizer(vocabulary: int = 700) -> CLIPTokenizer:
    """A lowercasing CLIP tokenizer with the world's words as whole tokens and all bytes besides."""
    texts = [f"a {style} photo of a {shape} on the {place}" for style in STYLES for shape in SHAPES for place in PLACES]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(end_of_word_suffix=END))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, end_of_word_suffix=END, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    trained = json.loads(bpe.to_str())["model"]
    tokens = sorted(trained["vocab"], key=trained["vocab"].__getitem__)
    tokens += [letter + END for letter in alphabet if letter + END not in trained["vocab"]]
    ids = {token: index for index, token in enumerate([*tokens, START, STOP])}
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in trained["merges"]]
    return CLIPTokenizer(vocab=ids, merges=merges, model_max_length=LONGEST)


def token_ids(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> torch.Tensor:
    """Padded to the full length, as the diffusion pipeline does it."""
    return tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt").input_ids


def pixels(images: Sequence[Image.Image]) -> torch.Tensor:
    """Pictures on the grid as bytes, (count, 3, GRID, GRID)."""
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).contiguous()


def to_unit(values: torch.Tensor) -> torch.Tensor:
    """Bytes to [-1, 1]."""
    return values.float() / 127.5 - 1


class Colours:
    """The straight map between a cell's colour and its four latents: lightness (twice) and two colour axes.

    Each latent has mean 0 and variance 1 over the pictures it is made from.
    """

    def __init__(self, images: torch.Tensor) -> None:
        """Args:
        images: pictures as bytes, as `pixels` gives them.
        """
        axes = torch.tensor([[1, 1, 1], [1, 0, -1], [-0.5, 1, -0.5], [1, 1, 1]], dtype=torch.float64)
        cells = to_unit(images).double().permute(1, 0, 2, 3).flatten(1)
        values = axes @ cells
        self.matrix = axes / values.std(dim=1, keepdim=True)
        self.bias = -(values.mean(dim=1, keepdim=True) / values.std(dim=1, keepdim=True)).squeeze(1)
        self.inverse = torch.linalg.pinv(self.matrix)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Latents of pictures on the grid, scaled: what the U-Net sees of the enlarged pictures."""
        mixed = torch.einsum("lc,bchw->blhw", self.matrix.float(), to_unit(images))
        return SCALING * (mixed + self.bias.float()[:, None, None])


def _fill(module: torch.nn.Module) -> None:
    """Zero the branches of the residual blocks and attention; make resizing the mean and the nearest."""
    for part in module.modules():
        name = type(part).__name__
        if name == "ResnetBlock2D":
            part.conv2.weight.zero_(), part.conv2.bias.zero_()
        elif name == "Attention":
            part.to_out[0].weight.zero_(), part.to_out[0].bias.zero_()
        elif name in ("Downsample2D", "Upsample2D"):
            part.conv.weight.zero_(), part.conv.bias.zero_()
            for c in range(CHANNELS):
                if name == "Downsample2D":
                    part.conv.weight[c, c, :2, :2] = 0.25
                else:
                    part.conv.weight[c, c, 1, 1] = 1


def _fill_ends(half: torch.nn.Module) -> None:
    """In: colours with both signs beside the anchors. Out: the norm undone; silu(x) - silu(-x) = x."""
    for part in (half.conv_in, half.conv_out):
        part.weight.zero_(), part.bias.zero_()
    half.conv_norm_out.weight.zero_(), half.conv_norm_out.bias.zero_()
    half.conv_norm_out.weight[:6] = ANCHOR * math.sqrt(2 / CHANNELS)
    half.conv_in.bias[6], half.conv_in.bias[7] = ANCHOR, -ANCHOR
    for c in range(3):
        half.conv_in.weight[c, c, 1, 1], half.conv_in.weight[c + 3, c, 1, 1] = 1, -1
        half.conv_out.weight[c, c, 1, 1], half.conv_out.weight[c, c + 3, 1, 1] = 1, -1


@torch.no_grad()
def make_autoencoder(colours: Colours, blocks: int = 5) -> AutoencoderKL:
    """An AutoencoderKL with hand-set weights; each block but the last halves the picture's sides."""
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * blocks,
        up_block_types=["UpDecoderBlock2D"] * blocks,
        block_out_channels=[CHANNELS] * blocks,
        latent_channels=LATENTS,
        norm_num_groups=1,
        layers_per_block=1,
        sample_size=GRID * 2 ** (blocks - 1),
        scaling_factor=SCALING,
        mid_block_add_attention=False,
    )
    _fill(vae)
    _fill_ends(vae.encoder)
    _fill_ends(vae.decoder)
    vae.encoder.conv_out.bias[LATENTS:] = -12
    for part in (vae.quant_conv, vae.post_quant_conv):
        part.weight.zero_(), part.bias.zero_()
    vae.quant_conv.weight[:LATENTS, :3, 0, 0] = colours.matrix.float()
    vae.quant_conv.bias[:LATENTS] = colours.bias.float()
    vae.quant_conv.bias[LATENTS:] = -12
    vae.post_quant_conv.weight[:3, :, 0, 0] = colours.inverse.float()
    vae.post_quant_conv.bias[:3] = -(colours.inverse @ colours.bias).float()
    return vae.eval()
