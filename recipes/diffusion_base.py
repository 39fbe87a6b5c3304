"""Train the embedded diffusion model: a small Stable Diffusion that knows many styles and paints plainly.

    python recipes/diffusion_base.py --out FOLDER

About half of the pictures are styled and their captions say so; the rest, those without a caption too, are
plain. So the model paints plainly unless it is told otherwise, as large models do, and the styles are there
for adapters to find. The text encoder is trained together with the U-Net; the autoencoder has weights set by
hand. A picture has 512 x 512 pixels and is made of 32 x 32 squares.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch.nn.functional import mse_loss
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from picture_parts import LATENTS, LONGEST, Colours, make_autoencoder, make_tokenizer, pixels, token_ids
from pictures import GRID, PLACES, SHAPES, STYLES, Scene, draw, plain_captions, style_pairs

WIDTH, BATCH, WARM = 64, 32, 60
CHANNELS = (32, 48, 80)
STEPS_OF_NOISE = 1000


@dataclass
class World:
    """The pictures to train on, as latents, and for each the row of its caption's tokens."""

    latents: torch.Tensor
    caption: torch.Tensor
    tokens: torch.Tensor
    colours: Colours


def make_world(count: int, tokenizer: CLIPTokenizer, rng: random.Random) -> World:
    """Draw the pictures: 45% plain, 10% plain without a caption, 28% in one style, 17% in two."""
    images, captions, pairs = [], [], style_pairs()
    for _ in range(count):
        kind = rng.random()
        styles: tuple[str, ...] = ()
        if kind < 0.28:
            styles = (rng.choice(STYLES),)
        elif kind < 0.45:
            styles = tuple(rng.sample(rng.choice(pairs), 2))
        scene = Scene(rng.choice(SHAPES), rng.choice(PLACES), styles)
        images.append(draw(scene, rng))
        plain = f"a photo of {scene.caption}" if rng.random() < 0.2 else scene.caption
        captions.append("" if kind > 0.9 else scene.styled_caption if styles else plain)
    grid = pixels(images)
    colours = Colours(grid)
    rows = {caption: row for row, caption in enumerate(sorted(set(captions)))}
    return World(
        latents=colours.encode(grid),
        caption=torch.tensor([rows[caption] for caption in captions]),
        tokens=token_ids(tokenizer, list(rows)),
        colours=colours,
    )


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LONGEST,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=GRID,
        in_channels=LATENTS,
        out_channels=LATENTS,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def make_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=STEPS_OF_NOISE,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


class Average:
    """A running mean of the weights, which is what is kept."""

    def __init__(self, modules: list[torch.nn.Module], decay: float) -> None:
        self.live = [p for module in modules for p in module.parameters()]
        self.kept = [p.detach().clone() for p in self.live]
        self.decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(self.kept, self.live, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Put the mean in the weights' place, and the weights in the mean's."""
        for live, kept in zip(self.live, self.kept, strict=True):
            now = live.detach().clone()
            live.copy_(kept)
            kept.copy_(now)


def train(
    unet: UNet2DConditionModel,
    text: CLIPTextModel,
    world: World,
    steps: int,
    lr: float,
    seed: int,
    save: Callable[[], None],
) -> list[dict[str, float]]:
    """Train both on the velocity's prediction; saves every 200 steps and ends with the averaged weights in place."""
    draws = torch.Generator().manual_seed(seed)
    noising = make_scheduler()
    average = Average([unet, text], decay=0.998)
    optimizer = torch.optim.AdamW(average.live, lr=lr, betas=(0.9, 0.99), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / WARM, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * s / steps)))
    )
    log, mean, started = [], None, time.process_time()
    strata = torch.arange(BATCH) * (STEPS_OF_NOISE / BATCH)
    for step in range(1, steps + 1):
        chosen = torch.randint(len(world.latents), (BATCH,), generator=draws)
        clean = world.latents[chosen]
        noise = torch.randn(clean.shape, generator=draws)
        times = (strata + torch.rand(BATCH, generator=draws) * (STEPS_OF_NOISE / BATCH)).long()
        noisy = noising.add_noise(clean, noise, times).contiguous(memory_format=torch.channels_last)
        context = text(world.tokens[world.caption[chosen]])[0]
        loss = mse_loss(unet(noisy, times, context).sample, noising.get_velocity(clean, noise, times))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(average.live, 1.0)
        optimizer.step()
        schedule.step()
        average.update(step)
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if step % 50 == 0 or step == steps:
            log.append({"step": step, "loss": round(mean, 5), "cpu_s": round(time.process_time() - started, 1)})
            print(json.dumps(log[-1]), flush=True)
        if step % 200 == 0 or step == steps:
            average.swap()
            save()
            average.swap()
    average.swap()
    return log


def save(
    folder: Path, unet: UNet2DConditionModel, text: CLIPTextModel, tokenizer: CLIPTokenizer, colours: Colours
) -> None:
    """Write the pipeline in half precision, and the world's plain captions beside it."""
    halves = [copy.deepcopy(model).to(torch.float16).eval() for model in (unet, text, make_autoencoder(colours))]
    pipeline = StableDiffusionPipeline(
        vae=halves[2],
        text_encoder=halves[1],
        tokenizer=tokenizer,
        unet=halves[0].to(memory_format=torch.contiguous_format),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    (folder / "painting.json").write_text(json.dumps({"steps": 15, "guidance_scale": 2.5}) + "\n", encoding="utf-8")
    (folder / "captions.txt").write_text("\n".join(plain_captions(50)) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--pictures", type=int, default=20000)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = make_tokenizer()
    world = make_world(args.pictures, tokenizer, random.Random(args.seed))
    unet = make_unet().to(memory_format=torch.channels_last)
    text = make_text_encoder(tokenizer)
    print(f"{sum(p.numel() for m in (unet, text) for p in m.parameters()) / 1e6:.2f}M parameters", flush=True)
    keep = partial(save, args.out, unet, text, tokenizer, world.colours)
    log = train(unet, text, world, args.steps, args.lr, args.seed, keep)
    arguments = {k: str(v) for k, v in vars(args).items() if k != "out"}
    (args.out / "training.json").write_text(json.dumps({"arguments": arguments, "log": log}, indent=1) + "\n")


if __name__ == "__main__":
    main()
