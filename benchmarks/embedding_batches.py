"""How many padded tokens a summarizer reads at once: pairs a CPU-second for several sizes of a batch, in one run.

    python benchmarks/embedding_batches.py --check
    python benchmarks/embedding_batches.py --summarizer FOLDER --pairs 12

The pairs are texts of the people of the package, of mixed lengths. Sizes take turns, so that a busy machine slows all
of them; figures are medians over the repetitions.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import median

from common import Clock, Promise, add_output_arguments, finish, guarded, progress

from xpert.data import read_samples
from xpert.embedded import PEOPLE, people
from xpert.models.loading import load_model
from xpert.models.reference import ModelReference
from xpert.records import OutputPair
from xpert.summarizing.language import LanguageSummarizer

SIZES = (512, 1024, 2048, 4096, 8192)


def sample_pairs(count: int) -> list[OutputPair]:
    """The answers of two people of the package to prompts of the first."""
    one, other = (read_samples(PEOPLE / f"{name}.jsonl") for name in sorted(people())[:2])
    both = [(a.prompt or "", a.response, b.response) for a, b in zip(one, other, strict=False)]
    return [OutputPair(*both[number % len(both)]) for number in range(count)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--summarizer", default="xpert/summarizer", help="causal LM that reads the pairs")
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    add_output_arguments(parser)
    args = parser.parse_args(argv)
    pairs = sample_pairs(args.pairs)
    loaded = load_model(ModelReference(args.summarizer), device=args.device)
    default = LanguageSummarizer(loaded).batch_tokens
    sizes = sorted({*SIZES, default})
    rates: dict[int, list[float]] = {size: [] for size in sizes}
    with progress() as show:
        LanguageSummarizer(loaded).embed(pairs[:4])  # the first call of anything is slow
        for repeat in range(args.repeats):
            for size in sizes if repeat % 2 == 0 else reversed(sizes):
                with Clock(loaded.device) as clock:
                    LanguageSummarizer(loaded, tokens_per_batch=size).embed(pairs)
                rates[size].append(len(pairs) / clock.cpu_s)
            show("embedding", repeat + 1, args.repeats)
    found = {size: median(rates[size]) for size in sizes}
    results = {
        "pairs_per_cpu_s": {str(size): rate for size, rate in found.items()},
        "default_tokens_per_batch": default,
        "pairs": args.pairs,
        "repeats": args.repeats,
    }
    share = found[default] / max(found.values())
    promises = [Promise("default batch, pairs per CPU-second, of the best size", share, at_least=0.9)]
    finish("embedding_batches", results, promises, args, device=loaded.device)


if __name__ == "__main__":
    guarded(main)
