"""Tune and publish the embedded pool: one pLLM a style, each explained in one space.

    python recipes/pool.py --styles DIR --out FOLDER

Reads the train rows only. Every pLLM is tuned from the base on the given share of stylistic data, the
rest being default answers.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from xpert.data import mix, read_samples, split_samples
from xpert.models.reference import ModelReference, resolve_folder
from xpert.opening import rebuild
from xpert.pool import open_pool
from xpert.pool.setup import PoolSetup
from xpert.tuning import TuningSettings, tune

from corpus import ATTRIBUTES, DEFAULT_STYLE

SETTINGS = TuningSettings(
    rank=8,
    alpha=16,
    learning_rate=2e-3,
    max_steps=120,
    batch_size=8,
    max_length_tokens=224,
    evaluate_every=20,
    patience=3,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--styles", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", default="xpert/base")
    parser.add_argument("--summarizer", default="xpert/summarizer")
    parser.add_argument("--similarity", type=float, default=0.9)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=SETTINGS.max_steps)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    default = read_samples(args.styles / f"{DEFAULT_STYLE}_train.jsonl.gz")
    pool = open_pool(args.out)
    with tempfile.TemporaryDirectory() as scratch:
        for style, words in ATTRIBUTES.items():
            name = "-".join(words)
            stylistic = read_samples(args.styles / f"{style}_train.jsonl.gz")
            rows = mix(stylistic, default, similarity=args.similarity, count=args.count, seed=args.seed)
            train, held = split_samples(rows, validation=60, seed=args.seed)
            folder = Path(scratch) / name
            result = tune(
                ModelReference(args.base),
                train,
                held,
                folder,
                SETTINGS.model_copy(update={"seed": args.seed, "max_steps": args.steps}),
            )
            print(name, f"{result.initial_loss:.3f} -> {result.best_loss:.3f} in {result.best_step} steps", flush=True)
            pool.add(
                folder,
                base_folder=resolve_folder(args.base),
                base_name=args.base,
                name=name,
                explain=None,
                note=f"style {style} of the released data, {args.similarity:.0%} stylistic, {len(train)} samples",
            )
    built = rebuild(
        pool, PoolSetup(base=args.base, summarizer=args.summarizer, rewriter="base", exact_words=0, draws=2)
    )
    print("words:", ", ".join(built.space.words))
    for record in pool.list():
        told = record.explanation.words if record.explanation is not None else ()
        print(record.name, *(f"{w.word} {w.coefficient:.2f} (floor {w.floor:.2f})" for w in told if w.coefficient > 0))


if __name__ == "__main__":
    main()
