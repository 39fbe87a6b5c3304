"""Train the embedded CLIP: a small CLIPModel that tells shapes, places and styles of the world's pictures.

    python recipes/clip.py --out FOLDER

Contrastive, on pictures that are drawn as they are needed. A scene comes several times in one batch, each
time in other styles, so that styles must be told and not only shapes. HELD_OUT shapes are only ever plain.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
from torch.nn.functional import avg_pool2d, cross_entropy, pad
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
)

from picture_parts import LONGEST, make_tokenizer, pixels, to_unit
from pictures import GRID, NAMED, PLACES, SHAPES, STYLES, Scene, draw, style_pairs

HELD_OUT = ("ring", "heart", "house")
PROJECTION, WARM = 64, 60
BATCH, TWINS = 128, 4
BOX = 4
"""PIL's box filter: pictures of square cells come back to the grid exactly."""


def make_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    common = {"num_attention_heads": 4, "projection_dim": PROJECTION}
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=2,
        max_position_embeddings=LONGEST,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **common,
    )
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        image_size=GRID,
        patch_size=4,
        **common,
    )
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=PROJECTION))


def make_image_processor() -> CLIPImageProcessorPil:
    return CLIPImageProcessorPil(
        size={"shortest_edge": GRID},
        crop_size={"height": GRID, "width": GRID},
        resample=BOX,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def draw_styles(rng: random.Random, pairs: list[tuple[str, str]]) -> tuple[str, ...]:
    """No style, one or two of them, in the ratio 1 to 2 to 2."""
    kind = rng.random()
    if kind < 0.2:
        return ()
    return (rng.choice(STYLES),) if kind < 0.6 else tuple(rng.sample(rng.choice(pairs), 2))


def draw_batch(rng: random.Random, pairs: list[tuple[str, str]]) -> tuple[torch.Tensor, list[str]]:
    """Pictures as bytes, and their captions."""
    images, captions = [], []
    for _ in range(BATCH // TWINS):
        shape, place = rng.choice(SHAPES), rng.choice(PLACES)
        for _ in range(TWINS):
            styles = () if shape in HELD_OUT else draw_styles(rng, pairs)
            scene = Scene(shape, place, styles)
            images.append(draw(scene, rng))
            plain = scene.caption if rng.random() < 0.2 else f"a photo of {scene.caption}"
            captions.append(scene.styled_caption if styles else plain)
    return pixels(images), captions


def disturb(images: torch.Tensor) -> torch.Tensor:
    """A little softness, noise and change of light, so that painted pictures look like drawn ones."""
    count = len(images)
    soft = avg_pool2d(pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    images = torch.lerp(images, soft, 0.5 * torch.rand(count, 1, 1, 1) * (torch.rand(count, 1, 1, 1) < 0.5))
    images = images + 0.05 * torch.rand(count, 1, 1, 1) * torch.randn_like(images)
    return (images * (1 + 0.06 * torch.randn(count, 1, 1, 1)) + 0.05 * torch.randn(count, 3, 1, 1)).clamp(-1, 1)


def train(model: CLIPModel, tokenizer: CLIPTokenizer, steps: int, lr: float, rng: random.Random) -> list[dict]:
    pairs = style_pairs()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / WARM, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * s / steps)))
    )
    log, mean, started = [], None, time.process_time()
    model.train()
    for step in range(1, steps + 1):
        images, captions = draw_batch(rng, pairs)
        rows = {caption: row for row, caption in enumerate(dict.fromkeys(captions))}
        inputs = tokenizer(captions, padding=True, return_tensors="pt")
        logits = model(**inputs, pixel_values=disturb(to_unit(images))).logits_per_image
        row = torch.tensor([rows[caption] for caption in captions])
        same = (row[:, None] == row[None]).float()
        target = same / same.sum(1, keepdim=True)
        loss = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(50))
        mean = loss.item() if mean is None else 0.95 * mean + 0.05 * loss.item()
        if step % 50 == 0 or step == steps:
            log.append({"step": step, "loss": round(mean, 4), "cpu_s": round(time.process_time() - started, 1)})
            print(json.dumps(log[-1]), flush=True)
    return log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters", flush=True)
    log = train(model, tokenizer, args.steps, args.lr, random.Random(args.seed))
    model.eval().to(torch.float16).save_pretrained(args.out)
    CLIPProcessor(image_processor=make_image_processor(), tokenizer=tokenizer).save_pretrained(args.out)
    (args.out / "vocabulary.txt").write_text("\n".join(NAMED) + "\n", encoding="utf-8")
    arguments = {k: str(v) for k, v in vars(args).items() if k != "out"}
    (args.out / "training.json").write_text(json.dumps({"arguments": arguments, "log": log}, indent=1) + "\n")


if __name__ == "__main__":
    main()
