"""What the benchmarks over style data share: finding styles, pools tuned once and kept, people.

A pLLM is kept under a digest of base, data and settings, so a second run and another benchmark find it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from xpert.data import mix, read_samples, split_samples
from xpert.errors import DataError
from xpert.models.reference import ModelReference, model_digest, resolve_folder
from xpert.records import Sample
from xpert.tuning import TuningSettings, tune

DEFAULT_STYLE = "0"
SIMILARITIES = (30, 50, 70, 80, 90, 100)
POOL_SETTINGS = TuningSettings(
    rank=8,
    alpha=16,
    learning_rate=2e-3,
    max_steps=40,
    batch_size=8,
    max_length_tokens=192,
    evaluate_every=20,
    patience=None,
)
POOL_ROWS = 330
VALIDATION_ROWS = 30


@dataclass(frozen=True)
class Candidate:
    """One pLLM of a benchmark's pools."""

    style: str
    similarity: int
    pool: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of every benchmark over style data."""
    cache = Path(os.environ.get("XPERT_CACHE", Path.home() / ".cache" / "xpert")) / "benchmarks"
    parser.add_argument(
        "--styles", type=Path, required=True, help="folder of {name}_{train,test}.jsonl.gz; 0 is the default data"
    )
    parser.add_argument("--base", default="xpert/base", help="base model: name or folder")
    parser.add_argument(
        "--similarities", type=int, nargs="+", default=list(SIMILARITIES), help="percent stylistic data"
    )
    parser.add_argument("--pools", type=int, default=2, help="number of pools, each tuned on its own draw of the data")
    parser.add_argument("--seeds", type=int, default=5, help="number of draws of people")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="pLLMs tuned at once")
    parser.add_argument("--cache", type=Path, default=cache, help="where tuned pLLMs are kept")


def find_styles(folder: Path) -> list[str]:
    """Names of the styles of a folder, the default data left out.

    Raises:
        DataError: fewer than two styles, or no default data.
    """
    names = sorted(f.name.removesuffix("_train.jsonl.gz") for f in folder.glob("*_train.jsonl.gz"))
    names = [name for name in names if (folder / f"{name}_test.jsonl.gz").is_file()]
    if DEFAULT_STYLE not in names or len(names) < 3:
        raise DataError(
            f"{folder} holds styles {names}: a benchmark needs {DEFAULT_STYLE}_train.jsonl.gz (default data) and at "
            "least two more styles, each with {name}_train.jsonl.gz and {name}_test.jsonl.gz"
        )
    return [name for name in names if name != DEFAULT_STYLE]


def read_style(folder: Path, style: str, split: str) -> list[Sample]:
    """Rows of one style and split."""
    return read_samples(folder / f"{style}_{split}.jsonl.gz")


def person(folder: Path, style: str, seed: int, count: int, *, least: int = 1) -> list[Sample]:
    """A person of a style: `count` test rows, or all where there are fewer, drawn by seed, in random order.

    Raises:
        DataError: fewer than `least` rows.
    """
    rows = read_style(folder, style, "test")
    if len(rows) < least:
        raise DataError(f"{folder / f'{style}_test.jsonl.gz'} holds {len(rows)} rows, this benchmark needs {least}")
    return random.Random(f"{style}/{seed}").sample(rows, min(count, len(rows)))


def tuned_pools(
    args: argparse.Namespace, styles: Sequence[str], on_progress: Callable[[str, int, int], None] | None = None
) -> dict[Candidate, Path]:
    """Adapter folders of all candidates; those that are not kept yet are tuned, `args.jobs` at a time."""
    base = resolve_folder(args.base)
    wanted = [
        Candidate(s, p, n) for n in range(args.pools) for p in sorted(args.similarities, reverse=True) for s in styles
    ]
    folders = {c: args.cache / "pllms" / _digest(base, args.styles, c) for c in wanted}
    missing = [c for c in wanted if not (folders[c] / "adapter_config.json").is_file()]
    done = len(wanted) - len(missing)
    with ProcessPoolExecutor(max_workers=args.jobs, mp_context=get_context("spawn")) as workers:
        for _ in workers.map(_tune_one, [(base, args.styles, c, folders[c]) for c in missing]):
            done += 1
            if on_progress is not None:
                on_progress("tuning pools", done, len(wanted))
    return folders


def _digest(base: Path, styles: Path, candidate: Candidate) -> str:
    whole = hashlib.sha256(model_digest(base).encode())
    for name in (candidate.style, DEFAULT_STYLE):
        whole.update((styles / f"{name}_train.jsonl.gz").read_bytes())
    whole.update(json.dumps([candidate.similarity, candidate.pool, POOL_ROWS, VALIDATION_ROWS]).encode())
    whole.update(POOL_SETTINGS.model_dump_json().encode())
    return whole.hexdigest()


def _tune_one(job: tuple[Path, Path, Candidate, Path]) -> None:
    import torch

    base, styles, candidate, folder = job
    torch.set_num_threads(1)
    stylistic, default = read_style(styles, candidate.style, "train"), read_style(styles, DEFAULT_STYLE, "train")
    rows = mix(
        stylistic,
        default,
        similarity=candidate.similarity / 100,
        count=min(POOL_ROWS, len(stylistic), len(default)),
        seed=1000 + candidate.pool,
    )
    train, held = split_samples(rows, validation=min(VALIDATION_ROWS, len(rows) // 5), seed=candidate.pool)
    shutil.rmtree(folder, ignore_errors=True)
    settings = POOL_SETTINGS.model_copy(update={"seed": candidate.pool})
    tune(ModelReference(str(base)), train, held, folder, settings)
