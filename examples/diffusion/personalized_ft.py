"""Fine-tune a Stable Diffusion pipeline on pictures with captions: the documented command of the paper's script.

    accelerate launch personalized_ft.py --pretrained_model_name_or_path=$BASE_MODEL --train_data_dir=$DATASET ...

A thin door: `xpert.tuning.diffusion.tune_diffusion` does the work; `xpert image tune` is the same with fewer letters.
An interrupted run goes on where it stopped when the same command is run again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from xpert.cli.image_sources import present_pipeline
from xpert.cli.terminal import Terminal
from xpert.data.pictures import open_pictures
from xpert.errors import XpertError
from xpert.models.reference import ModelReference
from xpert.tuning.diffusion import tune_diffusion
from xpert.tuning.diffusion_settings import DiffusionSettings

# Option -> name in DiffusionSettings, type; what is not given keeps the default written beside it.
NUMBERS: tuple[tuple[str, str, Any, Any], ...] = (
    ("train_batch_size", "batch_size", int, 16),
    ("gradient_accumulation_steps", "accumulation_steps", int, 1),
    ("checkpointing_steps", "save_every", int, 500),
    ("learning_rate", "learning_rate", float, 1e-4),
    ("max_grad_norm", "max_grad_norm", float, 1.0),
    ("adam_beta1", "adam_beta1", float, 0.9),
    ("adam_beta2", "adam_beta2", float, 0.999),
    ("adam_weight_decay", "weight_decay", float, 1e-2),
    ("adam_epsilon", "adam_epsilon", float, 1e-8),
    ("snr_gamma", "snr_gamma", float, None),
    ("noise_offset", "noise_offset", float, 0.0),
    ("input_perturbation", "input_perturbation", float, 0.0),
    ("prediction_type", "prediction_type", str, None),
    ("resolution", "resolution", int, 512),
    ("seed", "seed", int, 0),
)
SWITCHES = (
    ("center_crop", "center_crop"),
    ("random_flip", "random_flip"),
    ("gradient_checkpointing", "gradient_checkpointing"),
    ("use_ema", "ema"),
)
SCHEDULES = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The documented options, and `--rank` for a LoRA in place of the whole U-Net."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pretrained_model_name_or_path", required=True, help="pipeline: folder or hub name")
    parser.add_argument("--revision", help="revision of a hub name")
    parser.add_argument("--train_data_dir", required=True, help="folder, Parquet file or hub name of the pictures")
    parser.add_argument("--image_column", default="image")
    parser.add_argument("--caption_column", default="text")
    parser.add_argument("--max_train_samples", type=int, help="use so many of the first pictures")
    parser.add_argument("--validation_prompts", nargs="+", default=[], help="captions painted on the way")
    parser.add_argument("--validation_steps", type=int, default=100, help="steps between two such paintings")
    parser.add_argument("--output_dir", default="sd-model-finetuned")
    parser.add_argument("--num_train_epochs", type=int, default=100)
    parser.add_argument("--max_train_steps", type=int, help="in place of epochs")
    parser.add_argument("--mixed_precision", choices=("no", "fp16", "bf16"), default="no")
    parser.add_argument("--lr_scheduler", choices=SCHEDULES, default="constant")
    parser.add_argument("--lr_warmup_steps", type=int, default=500)
    parser.add_argument("--resume_from_checkpoint", help="accepted: an unfinished run is always gone on with")
    parser.add_argument("--rank", type=int, help="train a LoRA of this rank, not the whole U-Net")
    for option, _, kind, default in NUMBERS:
        parser.add_argument(f"--{option}", type=kind, default=default)
    for option, _ in SWITCHES:
        parser.add_argument(f"--{option}", action="store_true")
    return parser.parse_args(arguments)


def settings_of(args: argparse.Namespace) -> DiffusionSettings:
    """The options as settings; `constant` knows no warm-up, as in diffusers."""
    values = {name: getattr(args, option) for option, name, _, _ in NUMBERS}
    values |= {name: getattr(args, option) for option, name in SWITCHES}
    values |= {"epochs": args.num_train_epochs} if args.max_train_steps is None else {"max_steps": args.max_train_steps}
    values |= {"method": "full"} if args.rank is None else {"method": "lora", "rank": args.rank}
    return DiffusionSettings(
        **values,
        mixed_precision=args.mixed_precision,
        schedule=args.lr_scheduler,
        warmup_steps=0 if args.lr_scheduler == "constant" else args.lr_warmup_steps,
        validation_prompts=tuple(args.validation_prompts),
        validate_every=args.validation_steps,
    )


def main() -> int:
    args = parse()
    try:
        settings = settings_of(args)
        present_pipeline(args.pretrained_model_name_or_path, args.revision, "--pretrained_model_name_or_path")
        with Terminal().progress(pictures=True) as progress:
            pictures = open_pictures(
                args.train_data_dir,
                image_column=args.image_column,
                caption_column=args.caption_column,
                most=args.max_train_samples,
                on_progress=progress.stage,
            )
            reference = ModelReference(args.pretrained_model_name_or_path, revision=args.revision)
            result = tune_diffusion(
                reference,
                pictures,
                Path(args.output_dir),
                settings,
                on_step=progress.step,
                on_progress=progress.stage,
            )
    except XpertError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for note in result.notes:
        print(note, file=sys.stderr)
    print(f"{result.steps} steps on {result.pictures} pictures in {result.seconds:.0f} s: {result.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
