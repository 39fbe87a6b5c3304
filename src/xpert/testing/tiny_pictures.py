"""Tiny real image models, built in a moment and saved as plain folders: pipelines, a CLIP, a LoRA, pictures.

Knows only how to build; the weights are random, so the models paint noise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

_WORDS = (
    "a an the of on in and photo picture red green blue dark bright striped circle square star sea sky wall".split()
)
_MOST_TOKENS = 24


def tiny_clip_tokenizer() -> Any:
    """A CLIP tokenizer of bytes and a few words."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in _WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            if (parts[0], parts[1]) not in merges:
                merges.append((parts[0], parts[1]))
            parts[:2] = [parts[0] + parts[1]]
            if parts[0] not in tokens:
                tokens.append(parts[0])
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    make: Any = CLIPTokenizer
    return make(vocab={token: i for i, token in enumerate(tokens)}, merges=merges, model_max_length=_MOST_TOKENS)


def tiny_pipeline(folder: Path, *, seed: int = 0, xl: bool = False, cross_attention: int = 16) -> Path:
    """Save a random Stable Diffusion pipeline (or XL) that paints 32 x 32 pixels; returns the folder."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )

    tokenizer = tiny_clip_tokenizer()
    more: dict[str, Any] = {}
    if xl:
        more = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + cross_attention,
        }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width = 2 * cross_attention if xl else cross_attention
        unet: Any = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=width,
            attention_head_dim=4,
            norm_num_groups=8,
            use_linear_projection=True,
            **more,
        )
        vae: Any = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 8),
            norm_num_groups=4,
            sample_size=32,
        )
        parts: dict[str, Any] = {"unet": unet, "vae": vae, "tokenizer": tokenizer}
        parts["text_encoder"] = _text_encoder(tokenizer, cross_attention, projected=False)
        scheduler: Any = DDIMScheduler
        parts["scheduler"] = scheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
        make: Any = StableDiffusionXLPipeline if xl else StableDiffusionPipeline
        if xl:
            parts |= {"tokenizer_2": tokenizer, "text_encoder_2": _text_encoder(tokenizer, cross_attention, True)}
        else:
            parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipeline = make(**parts)
    pipeline.save_pretrained(str(folder))
    return folder


def _text_encoder(tokenizer: Any, width: int, projected: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config: Any = CLIPTextConfig(**_text_config(tokenizer, width), projection_dim=width)
    model: Any = CLIPTextModelWithProjection if projected else CLIPTextModel
    return model(config)


def _text_config(tokenizer: Any, width: int) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": _MOST_TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def tiny_clip(folder: Path, *, seed: int = 0, projection: int = 16) -> Path:
    """Save a random CLIP with its tokenizer and image processor; returns the folder."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    tokenizer = tiny_clip_tokenizer()
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": projection,
    }
    text = {**_text_config(tokenizer, 16), "projection_dim": projection}
    config: Any = CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = CLIPModel(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor: Any = CLIPImageProcessorPil
    processor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def tiny_image_lora(
    pipeline: Path,
    folder: Path,
    *,
    seed: int = 0,
    rank: int = 2,
    targets: Sequence[str] = ("to_q", "to_v"),
    scale: float = 0.3,
) -> Path:
    """Save a random LoRA (B not zero) of a pipeline's U-Net as diffusers writes it; returns the folder."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    read: Any = UNet2DConditionModel.from_pretrained
    unet = read(str(pipeline), subfolder="unet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets)))
        for name, parameter in unet.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=scale)
    save: Any = StableDiffusionPipeline.save_lora_weights
    save(str(folder), unet_lora_layers=get_peft_model_state_dict(unet))
    return folder


def tiny_pictures(
    folder: Path, *, count: int = 6, colour: tuple[int, int, int] = (200, 60, 60), size: int = 40
) -> Path:
    """Write `count` PNG pictures in shades of a colour with captions in metadata.jsonl; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        shade = tuple(max(0, min(255, channel + 12 * number - 30)) for channel in colour)
        picture = Image.new("RGB", (size + number, size), shade)
        picture.paste((30 * number % 255, 90, 120), (4, 4, 12 + number, 20))
        picture.save(folder / f"{number:03d}.png")
        rows.append({"file_name": f"{number:03d}.png", "text": f"a {_WORDS[15 + number % 2]} on the sea"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Studio:
    """A tiny pipeline, LoRAs of it, another pipeline of its shape, a CLIP and a folder of pictures."""

    pipeline: Path
    loras: tuple[Path, ...]
    other: Path
    clip: Path
    pictures: Path


def tiny_studio(folder: Path) -> Studio:
    """Everything that tests of image models need, in one folder."""
    pipeline = tiny_pipeline(folder / "pipeline")
    loras = [tiny_image_lora(pipeline, folder / f"lora-{n}", seed=n, rank=2 + n, scale=1.0) for n in range(3)]
    other, clip = tiny_pipeline(folder / "other", seed=1), tiny_clip(folder / "clip")
    return Studio(pipeline, tuple(loras), other, clip, tiny_pictures(folder / "pictures"))
