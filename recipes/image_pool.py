"""Tune and publish the embedded pool of image models: one LoRA a style, each explained in one space.

    python recipes/image_pool.py --out FOLDER [--people FOLDER]

Every LoRA is tuned from the embedded pipeline on pictures of one style whose captions do not tell it. With `--people`
it also writes the pictures of the sample people, drawn with seeds of their own.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from pictures import NAMED, STYLES, write_dataset
from xpert.data.pictures import open_pictures
from xpert.models.pipelines import resolve_pipeline
from xpert.models.reference import ModelReference
from xpert.opening import rebuild
from xpert.pool import open_pool
from xpert.pool.setup import PictureSetup, PoolSetup
from xpert.probing.captions import captions_for
from xpert.tuning.diffusion import tune_diffusion
from xpert.tuning.diffusion_settings import DiffusionSettings

SETTINGS = DiffusionSettings(
    method="lora", rank=4, learning_rate=2e-3, max_steps=60, batch_size=8, center_crop=True, seed=0
)
PICTURES = 96
PAINTING_STEPS, GUIDANCE, CAPTIONS = 15, 2.5, 24
PEOPLE = {"ada": ("striped",), "sol": ("golden",), "iris": ("red", "dotted"), "max": ()}
PEOPLE_PICTURES, PEOPLE_SIDE = 24, 64


def tune_style(base: str, style: str, folder: Path, seed: int) -> None:
    """Tune one style's LoRA into a folder."""
    with tempfile.TemporaryDirectory() as data:
        write_dataset(Path(data), (style,), PICTURES, seed=1000 * seed + STYLES.index(style))
        pictures = open_pictures(data)
        tune_diffusion(ModelReference(base), pictures, folder, SETTINGS.model_copy(update={"seed": seed}))


def write_people(folder: Path) -> None:
    """Write the sample people's pictures."""
    for number, (name, styles) in enumerate(PEOPLE.items()):
        write_dataset(folder / name, styles, PEOPLE_PICTURES, seed=90_000 + number, size=PEOPLE_SIDE)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=Path, help="also write the sample people's pictures here")
    parser.add_argument("--base", default="xpert/diffusion")
    parser.add_argument("--clip", default="xpert/clip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.people is not None:
        write_people(args.people)
    pool = open_pool(args.out)
    with tempfile.TemporaryDirectory() as scratch:
        for style in NAMED:
            folder = Path(scratch) / style
            tune_style(args.base, style, folder, args.seed)
            note = f"{PICTURES} drawn pictures, {SETTINGS.max_steps} steps"
            base = resolve_pipeline(args.base)
            pool.add(folder, base_folder=base, base_name=args.base, name=style, note=note)
            print("tuned", style, flush=True)
    how = PictureSetup(captions=captions_for(args.base, None, CAPTIONS), steps=PAINTING_STEPS, guidance_scale=GUIDANCE)
    setup = PoolSetup(
        base=args.base, summarizer_kind="clip", summarizer=args.clip, rewriter="base", exact_words=0, pictures=how
    )
    built = rebuild(pool, setup)
    print("words:", ", ".join(built.space.words))
    for record in pool.list():
        told = record.explanation.strongest(4) if record.explanation is not None else ()
        print(record.name, *(f"{w.word} {w.coefficient:.2f} (floor {w.floor:.2f})" for w in told))


if __name__ == "__main__":
    main()
