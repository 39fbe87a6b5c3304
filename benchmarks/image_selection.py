"""Is the right image model chosen for a person, and the right two merged for a person of two styles?

    python benchmarks/image_selection.py --json OUT [--check]

The pool is the embedded one (or `--pool FOLDER`), whose models are named after their styles. People are pictures that
nothing was tuned or chosen on: drawn anew for every seed from the small world of `recipes/pictures.py`, or, with
`--styles DIR`, drawn by seed from the folders DIR/{style}/ of pictures with captions.

    words       of every model the strongest word, painted and read anew
    selection   people of one style: the nearest model is that of their style
    merging     people of two styles: models and weights are chosen, merged, painted and explained anew, and the
                weights corrected by that; the two strongest words of the merge are the two styles (uncorrected: of
                the first merge)
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import Promise, Show, add_output_arguments, finish, guarded, progress

from xpert.data.pictures import open_pictures
from xpert.device.merging import plan_merge, settle_merge
from xpert.device.pictures import picture_files
from xpert.embedded import EMBEDDED_IMAGE_POOL
from xpert.errors import SettingsError
from xpert.explainer import PictureExplainer
from xpert.opening import open_picture_explainer
from xpert.pool import Pool, open_pool
from xpert.records import Explanation, PoolRecord
from xpert.selecting import select

PUBLISHED = 0.778
ALONE = frozenset({"negative"})
"""Styles that hide others: the negative of a red picture is not red, so nobody can show both."""


@contextmanager
def person(args: argparse.Namespace, styles: Sequence[str], seed: int) -> Iterator[Any]:
    """A person's pictures as files with captions."""
    if args.styles is not None:
        with picture_files(open_pictures(str(args.styles / styles[0])), limit=args.pictures, seed=seed) as kept:
            yield kept
        return
    _find_recipes()
    from pictures import write_dataset

    with tempfile.TemporaryDirectory() as folder:
        drawn = random.Random(f"{seed}/{'+'.join(styles)}").randrange(10**9)
        write_dataset(Path(folder), styles, args.pictures, seed=drawn, size=128)
        with picture_files(open_pictures(folder), limit=args.pictures) as kept:
            yield kept


def _find_recipes() -> None:
    recipes = str(Path(__file__).resolve().parents[1] / "recipes")
    if recipes not in sys.path:
        sys.path.insert(0, recipes)


def mixed_pairs(styles: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of styles that can be seen at once."""
    _find_recipes()
    from pictures import style_pairs

    return [pair for pair in style_pairs() if set(pair) <= set(styles) - ALONE]


def measure_words(pool: Pool, explainer: PictureExplainer, show: Show) -> dict[str, list[str]]:
    """The three strongest words of every model, explained anew."""
    found = {}
    records = pool.list()
    for number, record in enumerate(records, 1):
        explanation = explainer.explain_adapter(pool.adapter_path(record.name))
        found[record.name] = [word.word for word in explanation.strongest(3)]
        show("explaining models", number, len(records))
    return found


def measure_selection(
    args: argparse.Namespace,
    styles: Sequence[str],
    explainer: PictureExplainer,
    records: Sequence[PoolRecord],
    show: Show,
) -> tuple[list[float], list[float], list[str]]:
    """Of every seed the share of people whose nearest model is right, and that starts from it; who was missed."""
    right, started, missed = [], [], []
    for seed in range(args.seeds):
        hits, starts = [], []
        for number, style in enumerate(styles, 1):
            with person(args, (style,), seed) as pictures:
                selection = select(explainer.explain_pictures(pictures), records)
            hits.append(selection.ranking[0].name == style)
            starts.append(selection.choice == style)
            if not hits[-1]:
                missed.append(f"{style} (seed {seed}): {selection.ranking[0].name}")
            show("people of one style", seed * len(styles) + number, args.seeds * len(styles))
        right.append(float(np.mean(hits)))
        started.append(float(np.mean(starts)))
    return right, started, missed


def measure_merging(
    args: argparse.Namespace,
    styles: Sequence[str],
    pool: Pool,
    explainer: PictureExplainer,
    show: Show,
) -> tuple[dict[str, list[float]], list[str]]:
    """Of every seed the shares of two-style people for whom words, parents and the merge's words are the two styles."""
    found: dict[str, list[float]] = {"person": [], "parents": [], "uncorrected": [], "merged": []}
    missed = []
    for seed in range(args.seeds):
        rows = []
        pairs = random.Random(seed).sample(mixed_pairs(styles), args.mixed)
        for number, pair in enumerate(pairs, 1):
            with person(args, pair, seed) as pictures:
                own = explainer.explain_pictures(pictures)
            plan = plan_merge(own, pool)
            first, merged = None, None
            if plan.weights:
                first = settle_merge(plan, own, pool, explainer, rounds=0).measured
                settled = settle_merge(plan, own, pool, explainer)
                plan, merged = settled.plan, settled.measured
            tops = [_top_two(found) for found in (own, first, merged)]
            rows.append(
                (tops[0] == set(pair), set(plan.weights) == set(pair), tops[1] == set(pair), tops[2] == set(pair))
            )
            if not rows[-1][3]:
                words = [word.word for word in merged.strongest(3)] if merged else []
                missed.append(f"{'+'.join(pair)} (seed {seed}): merge of {dict(plan.weights)} says {words}")
            show("people of two styles", seed * args.mixed + number, args.seeds * args.mixed)
        for key, share in zip(found, np.mean(np.array(rows, dtype=float), axis=0), strict=True):
            found[key].append(float(share))
    return found, missed


def _top_two(explanation: Explanation | None) -> set[str]:
    return {word.word for word in explanation.strongest(2)} if explanation is not None else set()


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pool", type=Path, default=EMBEDDED_IMAGE_POOL, help="pool whose names are styles")
    parser.add_argument("--styles", type=Path, help="folder with a folder of pictures for every style")
    parser.add_argument("--seeds", type=int, default=5, help="number of draws of people")
    parser.add_argument("--pictures", type=int, default=24, help="of a person")
    parser.add_argument("--mixed", type=int, default=4, help="people of two styles, for every seed")
    parser.add_argument("--only-merging", action="store_true", help="leave out words and selection")
    parser.add_argument("--device", default="auto")
    add_output_arguments(parser)
    args = parser.parse_args()
    with progress() as show, open_pool(args.pool, read_only=True) as pool:
        explainer = open_picture_explainer(pool, device=args.device)
        records = pool.list()
        styles = [record.name for record in records]
        if args.styles is not None and not all((args.styles / style).is_dir() for style in styles):
            raise SettingsError(f"{args.styles} lacks folders of some of the styles {', '.join(styles)}")
        results: dict[str, Any] = {"styles": len(styles), "seeds": args.seeds}
        promises: list[Promise] = []
        if not args.only_merging:
            words = measure_words(pool, explainer, show)
            right, started, missed = measure_selection(args, styles, explainer, records, show)
            results |= {
                "words": {style: " ".join(found) for style, found in words.items()},
                "top_word_right": float(np.mean([found[:1] == [style] for style, found in words.items()])),
                "selection_accuracy": _spread(right),
                "started_from_it": _spread(started),
                "missed": missed,
            }
            promises += [
                Promise("models whose strongest word is their style", results["top_word_right"], at_least=1.0),
                Promise("selection accuracy", results["selection_accuracy"]["mean"], at_least=PUBLISHED),
            ]
        if args.styles is None:
            shares, failed = measure_merging(args, styles, pool, explainer, show)
            results["merging"] = {key: _spread(values) for key, values in shares.items()} | {"missed": failed}
            promises.append(
                Promise(
                    "merges that rank both words first and second", results["merging"]["merged"]["mean"], at_least=1.0
                )
            )
    finish("image_selection", results, promises, args)


if __name__ == "__main__":
    guarded(main)
