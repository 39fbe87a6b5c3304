"""The loop that one would write with diffusers, accelerate and peft: what `image_tuning.py` compares with.

Follows diffusers' train_text_to_image.py and train_text_to_image_lora.py: a DataLoader that decodes, crops, mirrors and
tokenizes, and a VAE and a text encoder that are asked in every step. Knows diffusers, accelerate, peft and torch; of
XPerT only the values that settings are kept in.
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import load_dataset
from diffusers import DDPMScheduler, StableDiffusionPipeline
from diffusers.optimization import get_scheduler
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image

from xpert.tuning import DiffusionSettings


def transformed(picture: Image.Image, resolution: int, settings: DiffusionSettings) -> torch.Tensor:
    """Resize, crop, mirror, ToTensor and Normalize of torchvision, by PIL."""
    picture = picture.convert("RGB")
    width, height = picture.size
    scale = resolution / min(width, height)
    size = (max(resolution, int(width * scale)), max(resolution, int(height * scale)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    right, down = size[0] - resolution, size[1] - resolution
    left = right // 2 if settings.center_crop else random.randint(0, right)
    top = down // 2 if settings.center_crop else random.randint(0, down)
    picture = picture.crop((left, top, left + resolution, top + resolution))
    if settings.random_flip and random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    values = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
    return (values - 0.5) / 0.5


def prepared(examples: dict[str, Any], tokenizer: Any, resolution: int, settings: DiffusionSettings) -> dict[str, Any]:
    """What the data set's rows become when they are asked for."""
    tokens = tokenizer(
        examples["text"],
        max_length=tokenizer.model_max_length,
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    )
    pixels = [transformed(picture, resolution, settings) for picture in examples["image"]]
    return {"pixel_values": pixels, "input_ids": list(tokens.input_ids)}


def collated(examples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """One batch."""
    return {name: torch.stack([example[name] for example in examples]) for name in ("pixel_values", "input_ids")}


def plain_diffusion(base: Path, data: Path, out: Path, resolution: int, settings: DiffusionSettings) -> list[float]:
    """The usual loop, from loading to saving; the loss of each step."""
    accelerator = Accelerator(
        gradient_accumulation_steps=settings.accumulation_steps, mixed_precision=settings.mixed_precision
    )
    random.seed(settings.seed)
    torch.manual_seed(settings.seed)
    pipeline: Any = StableDiffusionPipeline.from_pretrained(str(base), safety_checker=None)
    scheduler: Any = DDPMScheduler.from_config(pipeline.scheduler.config)
    unet, vae, text_encoder = pipeline.unet, pipeline.vae, pipeline.text_encoder
    vae.requires_grad_(False)
    text_encoder.requires_grad_(False)
    half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(accelerator.mixed_precision, torch.float32)
    vae.to(accelerator.device, dtype=half)
    text_encoder.to(accelerator.device, dtype=half)
    if settings.method == "lora":
        _add_lora(unet.to(accelerator.device, dtype=half), settings)
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    rows = load_dataset("imagefolder", data_dir=str(data), split="train").with_transform(
        partial(prepared, tokenizer=pipeline.tokenizer, resolution=resolution, settings=settings)
    )
    loader: Any = torch.utils.data.DataLoader(rows, shuffle=True, collate_fn=collated, batch_size=settings.batch_size)
    optimizer: Any = torch.optim.AdamW(
        trained,
        lr=settings.rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        weight_decay=settings.weight_decay,
        eps=settings.adam_epsilon,
    )
    steps = settings.max_steps or 0
    rates: Any = get_scheduler(settings.schedule, optimizer, num_warmup_steps=0, num_training_steps=steps)
    unet, optimizer, loader, rates = accelerator.prepare(unet.train(), optimizer, loader, rates)
    losses: list[float] = []
    total = 0.0
    while len(losses) < steps:
        for batch in loader:
            with accelerator.accumulate(unet):
                latents = vae.encode(batch["pixel_values"].to(half)).latent_dist.sample() * vae.config.scaling_factor
                noise = torch.randn_like(latents)
                timesteps = torch.randint(
                    0, scheduler.config.num_train_timesteps, (len(latents),), device=latents.device
                ).long()
                noisy = scheduler.add_noise(latents, noise, timesteps)
                states = text_encoder(batch["input_ids"], return_dict=False)[0]
                answer = unet(noisy, timesteps, states, return_dict=False)[0]
                known = scheduler.config.prediction_type == "epsilon"
                aim = noise if known else scheduler.get_velocity(latents, noise, timesteps)
                loss = torch.nn.functional.mse_loss(answer.float(), aim.float(), reduction="mean")
                average = accelerator.gather(loss.repeat(settings.batch_size)).mean()
                total += average.item() / settings.accumulation_steps
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(trained, settings.max_grad_norm)
                optimizer.step()
                rates.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                losses.append(total)
                total = 0.0
            if len(losses) == steps:
                break
    _save(pipeline, accelerator.unwrap_model(unet), out, settings)
    return losses


def _add_lora(unet: Any, settings: DiffusionSettings) -> None:
    unet.requires_grad_(False)
    unet.add_adapter(
        LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha or settings.rank,
            init_lora_weights="gaussian",
            target_modules=list(settings.target_modules),
        )
    )
    for parameter in unet.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _save(pipeline: Any, unet: Any, out: Path, settings: DiffusionSettings) -> None:
    unet = unet.to(torch.float32)
    if settings.method == "lora":
        layers = get_peft_model_state_dict(unet)
        StableDiffusionPipeline.save_lora_weights(str(out), unet_lora_layers=layers)
    else:
        pipeline.register_modules(unet=unet)
        pipeline.save_pretrained(str(out))
