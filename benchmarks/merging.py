"""What a merge saves where no single pLLM fits, and whether merges are what they are predicted to be.

    python benchmarks/merging.py --styles DIR --json OUT [--check]

The pool has one pLLM for every style (90% stylistic data, tuned on the train rows). A person of d dimensions writes in
d styles, a third or a half of the samples in each: 60 training and 30 validation samples from the test rows.

    steps        to the same validation loss: the lowest that tuning from scratch reached, and, since a pLLM is often
                 there before its first step, the lowest that tuning from the best single pLLM reached. Starts are that
                 pLLM, the merge with the weights found, the same models with equal weights, random models and weights.
                 A run towards a loss does not stop early; one that never reaches it counts as all steps.
    predictions  coefficients of the merges as predicted and as measured, those of two contraries as one number with a
                 sign: rank correlation over merges and words
    wishes       on the package's own pool: for every word w of its space, `--want w=1`, merged and explained anew
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from common import Promise, Show, add_output_arguments, finish, guarded, progress
from pools import add_arguments, find_styles, read_style, tuned_pools
from scipy.stats import spearmanr
from selection import Work, Workers, embedded_people, explained_candidates
from warm_start import SETTINGS, TRAIN, VALIDATION

from xpert.device.merging import plan_merge, settle_merge
from xpert.embedded import EMBEDDED_POOL
from xpert.explaining import explain_embeddings
from xpert.merging.merge import merge_models
from xpert.merging.weights import TEXT_SHARE, propose
from xpert.merging.wishes import predicted, wish
from xpert.models.reference import ModelReference, resolve_folder
from xpert.opening import open_explainer
from xpert.pool import open_pool
from xpert.records import Combination, Explanation, PoolRecord, Sample
from xpert.selecting import select
from xpert.space.basis import Space
from xpert.tuning import TuningResult, tune

DIMENSIONS = (1, 2, 3)
SIMILARITY = 90
STARTS = ("scratch", "single", "merged", "equal", "random")
PUBLISHED = {2: 0.45, 3: 0.57}
PUBLISHED_SINGLE = 0.75


@dataclass(frozen=True)
class Person:
    """Someone who writes in several styles."""

    styles: tuple[str, ...]
    seed: int

    @property
    def key(self) -> tuple[str, int]:
        """As `embedded_people` names people."""
        return "+".join(self.styles), self.seed


@dataclass(frozen=True)
class Job:
    """One person, and the weights of every start."""

    base: Path
    samples: list[Sample]
    starts: dict[str, dict[str, float]]
    folders: dict[str, Path]
    seed: int


def people_of(styles: Sequence[str], seeds: int, each: int, dimensions: Sequence[int] = DIMENSIONS) -> list[Person]:
    """For every seed and number of dimensions `each` people; of one person the styles differ."""
    found = []
    for seed in range(seeds):
        for count in dimensions:
            drawn = random.Random(f"{seed}/{count}")
            found += [Person(tuple(sorted(drawn.sample(list(styles), count))), seed * each + n) for n in range(each)]
    return found


def samples_of(folder: Path, person: Person, count: int) -> list[Sample]:
    """Rows of the person's styles in equal parts, in random order; no prompt twice."""
    drawn, used, rows = random.Random(f"{person.key}"), set[str | None](), []
    for place, style in enumerate(person.styles):
        share = count // len(person.styles) + (place < count % len(person.styles))
        free = [row for row in read_style(folder, style, "test") if row.prompt not in used]
        chosen = drawn.sample(free, share)
        used |= {row.prompt for row in chosen}
        rows += chosen
    drawn.shuffle(rows)
    return rows


def starts_of(own: Explanation, records: Sequence[PoolRecord], person: Person) -> dict[str, dict[str, float]]:
    """Weights of every start; the random one has as many models as the merge, at least as many as dimensions.

    Where no sum of several is proposed, the merge is the best single pLLM, as `xpert personalize` has it.
    """
    plan = propose(own, records, share=TEXT_SHARE).weights
    merged = dict(plan) if len(plan) > 1 else {select(own, records).ranking[0].name: 1.0}
    names = [record.name for record in records]
    drawn = random.Random(f"random/{person.key}")
    guessed = drawn.sample(names, max(len(merged), len(person.styles)))
    return {
        "scratch": {},
        "single": {select(own, records).ranking[0].name: 1.0},
        "merged": merged,
        "equal": dict.fromkeys(merged, 1 / len(merged)),
        "random": {name: drawn.random() for name in guessed},
    }


def run(job: Job) -> dict[str, dict[str, float]]:
    """Steps and losses of one person from every start."""
    import torch

    torch.set_num_threads(1)
    train, held = job.samples[:TRAIN], job.samples[TRAIN : TRAIN + VALIDATION]
    settings = SETTINGS.model_copy(update={"seed": job.seed, "evaluate_every": 2})
    room = Path(tempfile.mkdtemp(prefix="xpert-merging-"))
    try:
        results, aimed = {}, settings
        for name in STARTS:
            start = _start(job, job.starts[name], room / f"start-{name}")
            reference = ModelReference(str(job.base), None if start is None else str(start))
            results[name] = tune(reference, train, held, room / name, aimed)
            if name == "single":
                lowest = min(float(one.best_loss or 0.0) for one in results.values())
                aimed = settings.model_copy(update={"target_validation_loss": lowest, "patience": None})
        easy, hard = (float(results[name].best_loss or 0.0) for name in ("scratch", "single"))
        return {
            name: {
                "steps": _steps_to(easy, result),
                "steps_to_single": _steps_to(hard, result),
                "first": float(result.initial_loss or 0.0),
            }
            for name, result in results.items()
        }
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _steps_to(loss: float, result: TuningResult) -> float:
    """The first step at which a validation loss was reached; all steps that a run may take where it never was."""
    return float(next((step for step, found in result.validation_losses if found <= loss), SETTINGS.max_steps))


def _start(job: Job, weights: Mapping[str, float], room: Path) -> Path | None:
    if not weights:
        return None
    if list(weights.values()) == [1.0]:
        return job.folders[next(iter(weights))]
    merge_models({name: (job.folders[name], weight) for name, weight in weights.items()}, job.base, room)
    return room


def steps_by_dimensions(people: Sequence[Person], found: Sequence[dict]) -> dict[str, dict[str, Any]]:
    """Mean steps of every start with their spread over people, and ratios of the means, to both losses."""
    told: dict[str, dict[str, Any]] = {}
    for count in sorted({len(person.styles) for person in people}):
        rows = [one for person, one in zip(people, found, strict=True) if len(person.styles) == count]
        told[str(count)] = {"people": len(rows), "first_loss": _means(rows, "first")}
        for key in ("steps", "steps_to_single"):
            steps = {name: np.array([one[name][key] for one in rows]) for name in STARTS}
            told[str(count)] |= {key: _means(rows, key), f"{key}_sd": _spreads(rows, key)}
            told[str(count)] |= {f"{key}_merged_to_{name}": _ratio(steps["merged"], steps[name]) for name in STARTS}
    return told


def _means(rows: Sequence[dict], key: str) -> dict[str, float]:
    return {name: float(np.mean([one[name][key] for one in rows])) for name in STARTS}


def _spreads(rows: Sequence[dict], key: str) -> dict[str, float]:
    return {name: float(np.std([one[name][key] for one in rows], ddof=1)) if len(rows) > 1 else 0.0 for name in STARTS}


def _ratio(above: np.ndarray, below: np.ndarray) -> float:
    """Ratio of means; 1 where neither takes a step."""
    return float(above.mean() / below.mean()) if below.mean() > 0 else float(1.0 + above.mean())


def measure_predictions(
    workers: Workers, jobs: Sequence[Job], plans: Sequence[Combination], space: Space, most: int, show: Show
) -> dict[str, Any]:
    """Rank correlation of predicted and measured coefficients over the merges of several models."""
    several = [n for n, plan in enumerate(plans) if len(plan.weights) > 1][:most]
    axes = _axes(space)
    with tempfile.TemporaryDirectory(prefix="xpert-merging-") as folder:
        work = []
        for n in several:
            parents = {name: (jobs[n].folders[name], weight) for name, weight in plans[n].weights.items()}
            merge_models(parents, jobs[n].base, Path(folder) / str(n))
            work.append(Work(adapter=Path(folder) / str(n)))
        pairs = []
        for done, (n, told) in enumerate(zip(several, workers.run(work), strict=True), 1):
            words, measured = predicted(plans[n], space), Explanation.model_validate_json(str(told))
            z = {word.word: word.coefficient for word in measured.words}
            pairs.append([(signed(words), signed(z)) for signed in axes])
            show("explaining merges", done, len(several))
    if len(pairs) < 2:
        return {"merges": len(pairs), "rank_correlation": float("nan")}
    rows = np.array([pair for merge in pairs for pair in merge])
    each = [float(spearmanr(*zip(*merge, strict=True)).statistic) for merge in pairs]
    return {
        "merges": len(several),
        "rank_correlation": float(spearmanr(rows[:, 0], rows[:, 1]).statistic),
        "rank_correlation_of_a_merge": {"mean": float(np.mean(each)), "sd": float(np.std(each, ddof=1))},
        "mean_absolute_error": float(np.abs(rows[:, 0] - rows[:, 1]).mean()),
        "predicted": [round(float(value), 3) for value in rows[:, 0]],
        "measured": [round(float(value), 3) for value in rows[:, 1]],
    }


def _axes(space: Space) -> list[Callable[[Mapping[str, float]], float]]:
    """Of every axis what gives its number: a word's coefficient, less that of its contrary."""
    contrary = {space.words[a]: space.words[b] for a, b in space.opposites}
    first = [word for word in space.words if word not in contrary.values()]
    return [lambda z, word=word: z[word] - z.get(contrary.get(word, ""), 0.0) for word in first]


def measure_wishes(show: Show) -> dict[str, dict[str, Any]]:
    """For every word of the package's pool what wishing for it leads to."""
    found = {}
    explainer = open_explainer(EMBEDDED_POOL)
    with open_pool(EMBEDDED_POOL, read_only=True) as pool:
        for number, word in enumerate(explainer.space.words, 1):
            wished = wish({word: 1.0}, explainer.space)
            settled = settle_merge(plan_merge(wished, pool, wished=True), wished, pool, explainer, wished=True)
            first = [one.word for one in settled.measured.strongest(3)]
            found[word] = {
                "words": " ".join(first),
                "first": float(first[:1] == [word]),
                "weights": " + ".join(f"{weight:.2f} {name}" for name, weight in settled.plan.weights.items()),
                "distance": settled.distance,
            }
            show("wishes", number, len(explainer.space.words))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    add_output_arguments(parser)
    parser.add_argument("--people", type=int, default=2, help="people for every seed and number of dimensions")
    parser.add_argument("--dimensions", type=int, nargs="+", default=list(DIMENSIONS), help="styles of a person")
    parser.add_argument("--merges", type=int, default=20, help="merges that are explained anew, at most")
    args = parser.parse_args()
    args.pools, args.similarities = 1, [SIMILARITY]
    styles, base = find_styles(args.styles), resolve_folder(args.base)
    people = people_of(styles, args.seeds, args.people, args.dimensions)
    drawn = {person.key: samples_of(args.styles, person, TRAIN + VALIDATION) for person in people}
    space = open_explainer(EMBEDDED_POOL).space
    with progress() as show:
        folders = tuned_pools(args, styles, show)
        by_name = {candidate.style: folder for candidate, folder in folders.items()}
        with Workers(EMBEDDED_POOL, args.jobs) as helpers:
            records = list(explained_candidates(helpers, space, folders, args.cache, show).values())
            first = {key: rows[:50] for key, rows in drawn.items()}
            embedded = embedded_people(helpers, space, first, args.cache, "explaining people", show)
            told = [explain_embeddings(embedded[person.key], space, prompts="benchmark") for person in people]
            jobs = [
                Job(base, drawn[person.key], starts_of(own, records, person), by_name, person.seed)
                for person, own in zip(people, told, strict=True)
            ]
            plans = [propose(own, records, share=TEXT_SHARE) for own in told]
            predictions = measure_predictions(helpers, jobs, plans, space, args.merges, show)
        wishes = measure_wishes(show)
        found = []
        with ProcessPoolExecutor(max_workers=args.jobs, mp_context=get_context("spawn")) as workers:
            for one in workers.map(run, jobs):
                found.append(one)
                show("tuning people", len(found), len(jobs))
    by_dimensions = steps_by_dimensions(people, found)
    results = {
        "by_dimensions": by_dimensions,
        "parents_right": float(
            np.mean([set(plan.weights) == set(one.styles) for plan, one in zip(plans, people, strict=True)])
        ),
        "predictions": predictions,
        "wishes": wishes,
    }
    promises = []
    for count, ceiling in PUBLISHED.items():
        if str(count) not in by_dimensions:
            continue
        row = by_dimensions[str(count)]
        promises += [
            Promise(
                f"{count} dimensions, merged / scratch, steps to scratch's lowest loss",
                row["steps_merged_to_scratch"],
                at_most=ceiling,
            ),
            Promise(
                f"{count} dimensions, merged / single, steps to the single's lowest loss",
                row["steps_to_single_merged_to_single"],
                at_most=PUBLISHED_SINGLE,
            ),
        ]
    promises += [
        Promise("rank correlation, predicted and measured", predictions["rank_correlation"], at_least=0.9),
        Promise("wishes whose word comes first", float(np.mean([w["first"] for w in wishes.values()])), at_least=1.0),
    ]
    finish("merging", results, promises, args)


if __name__ == "__main__":
    guarded(main)
