"""What a selected start saves: steps, CPU-seconds and samples to the same validation loss, and quality.

    python benchmarks/warm_start.py --styles DIR --json OUT [--check]

A person has 60 training and 30 validation samples from the test rows of one style. From scratch: LoRA on the
base until its validation loss no longer falls; its lowest loss is the target, so it is a loss that scratch
really reached. From the selected pLLM: the same settings until the target. Steps that never reach the target
count as all steps. Samples: the training set is made smaller, 60, 45, 30, 15, 8, 4, until the target is missed.

Quality: both go on until their validation loss no longer falls, then answer 30 prompts that nothing saw, four times
each. Answers are sampled, so their scores scatter: the standard error of the difference over people stands beside it,
and "not lower" means that the 95% interval of the difference does not lie below 0.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from common import Promise, add_output_arguments, finish, guarded, progress
from pools import add_arguments, find_styles, person, tuned_pools
from selection import Workers, embedded_people, explained_candidates

from xpert.embedded import EMBEDDED_POOL
from xpert.explaining import explain_embeddings
from xpert.models.reference import ModelReference, resolve_folder
from xpert.opening import open_explainer
from xpert.records import Sample
from xpert.selecting import select
from xpert.tuning import TuningResult, TuningSettings, tune

TRAIN, VALIDATION, QUALITY = 60, 30, 30
SETTINGS = TuningSettings(
    rank=8,
    alpha=16,
    learning_rate=1e-3,
    max_steps=80,
    batch_size=8,
    max_length_tokens=192,
    evaluate_every=4,
    patience=5,
)
SIZES = (4, 8, 15, 30, 45)
ANSWERS = 4
"""To every prompt: with one the scatter of the sampling is as large as what is compared."""
SCORES = ("bleu", "rouge1", "rougeL")


@dataclass(frozen=True)
class Job:
    """One person, and the pLLM selected for them at every similarity (None: the base)."""

    base: Path
    style: str
    seed: int
    samples: list[Sample]
    starts: dict[int, Path | None]
    quality_at: int


def run(job: Job) -> dict:
    """All runs of one person; returns plain numbers."""
    import torch

    torch.set_num_threads(1)
    train, held = job.samples[:TRAIN], job.samples[TRAIN : TRAIN + VALIDATION]
    room = Path(tempfile.mkdtemp(prefix="xpert-warm-"))
    settings = SETTINGS.model_copy(update={"seed": job.seed})
    try:
        scratch = tune(ModelReference(str(job.base)), train, held, room / "scratch", settings)
        target = scratch.best_loss
        found = {
            "target": target,
            "scratch": _facts(scratch, scratch.best_step, scratch.best_loss),
            "by_similarity": {},
        }
        needed = _samples_needed(job, None, train, held, target, settings, room)
        found["scratch"]["samples"] = needed
        for similarity, adapter in job.starts.items():
            aimed = settings.model_copy(
                update={"target_validation_loss": target, "patience": None, "max_steps": SETTINGS.max_steps}
            )
            warm = tune(_reference(job, adapter), train, held, room / f"warm{similarity}", aimed)
            facts = _facts(warm, warm.steps if warm.best_loss <= target else SETTINGS.max_steps, warm.best_loss)
            facts["samples"] = (
                0 if warm.steps == 0 else _samples_needed(job, adapter, train, held, target, settings, room)
            )
            found["by_similarity"][similarity] = facts
        if job.quality_at in job.starts:
            longer = tune(_reference(job, job.starts[job.quality_at]), train, held, room / "quality", settings)
            found["quality"] = {
                "scratch": _quality(job, room / "scratch"),
                "selected": _quality(job, room / "quality"),
            }
            found["best_loss_from_selected"] = longer.best_loss
        return found
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _reference(job: Job, adapter: Path | None) -> ModelReference:
    return ModelReference(str(job.base), None if adapter is None else str(adapter))


def _facts(result: TuningResult, steps: int, loss: float) -> dict:
    share = min(1.0, steps / result.steps) if result.steps else 0.0
    return {
        "steps": steps,
        "cpu_seconds": result.cpu_seconds * share,
        "loss": loss,
        "initial_loss": result.initial_loss,
    }


def _samples_needed(
    job: Job, adapter: Path | None, train, held, target: float, settings: TuningSettings, room: Path
) -> int:
    """Training samples that are needed for the target: the set is made smaller, by SIZES, until it is missed."""
    needed = len(train)
    for size in sorted((n for n in SIZES if n < len(train)), reverse=True):
        folder = room / f"samples-{size}"
        shutil.rmtree(folder, ignore_errors=True)
        aimed = settings.model_copy(update={"target_validation_loss": target, "batch_size": min(8, size)})
        if tune(_reference(job, adapter), train[:size], held, folder, aimed).best_loss > target:
            break
        needed = size
    return needed


def _quality(job: Job, adapter: Path) -> dict[str, float]:
    """BLEU and ROUGE of answers to prompts that neither tuning nor validation saw (0 to 1), means over all draws."""
    from xpert.models.generation import cut, generate
    from xpert.models.loading import load_model

    loaded = load_model(_reference(job, adapter), device="cpu")
    samples = job.samples[TRAIN + VALIDATION :]
    asked = [sample.prompt or "" for sample in samples] * ANSWERS
    answers = generate(loaded, asked, max_new_tokens=128, seed=job.seed)
    truths = [cut(loaded.tokenizer, sample.response, 128) for sample in samples]
    draws = [_scores(answers[i : i + len(truths)], truths) for i in range(0, len(answers), len(truths))]
    return {key: float(np.mean([one[key] for one in draws])) for key in SCORES}


def _scores(answers: list[str], truths: list[str]) -> dict[str, float]:
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
    scores = [scorer.score(truth, text) for truth, text in zip(truths, answers, strict=True)]
    return {
        "bleu": sacrebleu.corpus_bleu(answers, [truths]).score / 100,
        "rouge1": float(np.mean([s["rouge1"].fmeasure for s in scores])),
        "rougeL": float(np.mean([s["rougeL"].fmeasure for s in scores])),
    }


def summarise(found: list[dict], similarities: list[int]) -> dict:
    """Means and spreads over people: fractions saved, as 1 - selected / scratch."""
    by_similarity = {}
    for similarity in similarities:
        saved = defaultdict(list)
        for one in found:
            warm, scratch = one["by_similarity"][similarity], one["scratch"]
            for key in ("steps", "cpu_seconds", "samples"):
                saved[f"{key}_saved"].append(1 - warm[key] / scratch[key] if scratch[key] else 0.0)
            saved["reached"].append(float(warm["loss"] <= one["target"]))
        by_similarity[str(similarity)] = {key: float(np.mean(values)) for key, values in saved.items()}
        by_similarity[str(similarity)] |= {
            f"{key}_sd": float(np.std(values, ddof=1)) for key, values in saved.items() if len(values) > 1
        }
    return by_similarity


def compare_quality(found: list[dict]) -> dict:
    """Mean scores of both sides over people, the mean difference and its standard error."""
    scores = {
        side: {key: np.array([one["quality"][side][key] for one in found]) for key in SCORES}
        for side in ("scratch", "selected")
    }
    apart = {key: scores["selected"][key] - scores["scratch"][key] for key in SCORES}
    return {
        **{side: {key: float(values.mean()) for key, values in each.items()} for side, each in scores.items()},
        "difference": {key: float(values.mean()) for key, values in apart.items()},
        "standard_error": {
            key: float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
            for key, values in apart.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    add_output_arguments(parser)
    args = parser.parse_args()
    args.pools = 1
    styles, base = find_styles(args.styles), resolve_folder(args.base)
    people_rows = TRAIN + VALIDATION + QUALITY
    drawn = {
        (style, seed): person(args.styles, style, seed, people_rows, least=people_rows)
        for seed in range(args.seeds)
        for style in styles
    }
    quality_at = 90 if 90 in args.similarities else max(args.similarities)
    space = open_explainer(EMBEDDED_POOL).space
    with progress() as show:
        folders = tuned_pools(args, styles, show)
        with Workers(EMBEDDED_POOL, args.jobs) as helpers:
            records = explained_candidates(helpers, space, folders, args.cache, show)
            first = {key: rows[:50] for key, rows in drawn.items()}
            people = embedded_people(helpers, space, first, args.cache, "selecting", show)
        jobs, wrong = [], 0
        for (style, seed), embeddings in people.items():
            own = explain_embeddings(embeddings, space, prompts="benchmark")
            starts: dict[int, Path | None] = {}
            for similarity in args.similarities:
                choice = select(own, [r for c, r in records.items() if c.similarity == similarity]).choice
                wrong += choice != style
                starts[similarity] = next(
                    (folders[c] for c in folders if (c.style, c.similarity) == (choice, similarity)), None
                )
            jobs.append(Job(base, style, seed, drawn[style, seed], starts, quality_at))
        found = []
        with ProcessPoolExecutor(max_workers=args.jobs, mp_context=get_context("spawn")) as workers:
            for one in workers.map(run, jobs):
                found.append(one)
                show("tuning people", len(found), len(jobs))
    by_similarity = summarise(found, args.similarities)
    quality = compare_quality(found)
    results = {
        "by_similarity": by_similarity,
        "people": len(found),
        "wrong_selections": wrong / (len(jobs) * len(args.similarities)),
        "scratch": {
            key: float(np.mean([one["scratch"][key] for one in found]))
            for key in ("steps", "cpu_seconds", "samples", "loss", "initial_loss")
        },
        "best_loss_from_selected": float(np.mean([one["best_loss_from_selected"] for one in found])),
        "quality": quality,
    }
    promises = []
    if "90" in by_similarity:
        promises = [
            Promise("steps saved at 90% similarity", by_similarity["90"]["steps_saved"], at_least=0.83),
            Promise("samples saved at 90% similarity", by_similarity["90"]["samples_saved"], at_least=0.51),
        ]
    promises += [
        Promise(
            f"{key} from the selected pLLM, less that from scratch, upper end of the 95% interval",
            quality["difference"][key] + 1.96 * quality["standard_error"][key],
            at_least=0.0,
        )
        for key in SCORES
    ]
    finish("warm_start", results, promises, args)


if __name__ == "__main__":
    guarded(main)
