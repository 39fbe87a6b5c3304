"""How often the right pLLM is chosen: by similarity of the pool, by number of samples, with and without prompts.

    python benchmarks/selection.py --styles DIR --json OUT [--check]

People are drawn from the test rows of every style (50 samples each); pools are tuned on the train rows with
30 to 100% stylistic data. The accuracy is the share of people whose nearest pLLM was tuned on their own style.
Beside it: how many were sent to the base all the same, and how many who write like the default data are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from common import Promise, add_output_arguments, finish, guarded, progress, write_whole
from pools import DEFAULT_STYLE, Candidate, add_arguments, find_styles, person, tuned_pools

from xpert.embedded import EMBEDDED_POOL
from xpert.explainer import Explainer
from xpert.explaining import explain_embeddings
from xpert.models.adapters import inspect_adapter
from xpert.opening import open_explainer
from xpert.probing.text import pair_person
from xpert.records import Explanation, PoolRecord, Sample
from xpert.selecting import select
from xpert.space.basis import Space
from xpert.space.decomposition import FloatArray

PUBLISHED = {30: 0.250, 50: 0.536, 70: 0.857, 80: 0.964, 90: 0.964}
COUNTS = (5, 10, 20, 50)
explainer_here: Explainer  # of a worker process


@dataclass(frozen=True)
class Work:
    """Something for a worker to explain: an adapter folder, or a person's samples."""

    adapter: Path | None = None
    samples: tuple[Sample, ...] = ()


class Workers:
    """Processes of one thread each, every one with its own explainer: small models gain nothing from threads."""

    def __init__(self, pool: Path, jobs: int) -> None:
        self._executor = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_open, initargs=(pool,))

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    def run(self, work: Sequence[Work]) -> Iterator[str | FloatArray]:
        """JSON of an explanation for an adapter, embeddings (n, d) for a person; in the order of `work`."""
        return self._executor.map(_explain, work)


def _open(pool: Path) -> None:
    import torch

    global explainer_here
    torch.set_num_threads(1)
    explainer_here = open_explainer(pool)


def _explain(work: Work) -> str | FloatArray:
    if work.adapter is not None:
        return explainer_here.explain_adapter(work.adapter).model_dump_json()
    prober = explainer_here.prober
    return explainer_here.summarizer.embed(pair_person(prober.base, work.samples, prober.settings))


def explained_candidates(
    workers: Workers, space: Space, folders: dict[Candidate, Path], cache: Path, show
) -> dict[Candidate, PoolRecord]:
    """Records of all candidates, explained in the pool's space; explanations are kept beside the pLLMs."""
    kept = {c: cache / "explanations" / space.digest[:16] / f"{folder.name}.json" for c, folder in folders.items()}
    missing = [c for c in folders if not kept[c].is_file()]
    for number, (candidate, told) in enumerate(
        zip(missing, workers.run([Work(adapter=folders[c]) for c in missing]), strict=True), 1
    ):
        with write_whole(kept[candidate]) as stream:
            stream.write(str(told).encode())
        show("explaining pLLMs", number, len(missing))
    records = {}
    for candidate, folder in folders.items():
        facts = inspect_adapter(folder)
        records[candidate] = PoolRecord(
            name=candidate.style,
            adapter=facts.digest,
            base=space.base,
            base_name="benchmark",
            rank=facts.rank,
            target_modules=facts.target_modules,
            size_bytes=facts.size_bytes,
            created="",
            explanation=Explanation.model_validate_json(kept[candidate].read_text("utf-8")),
        )
    return records


def embedded_people(
    workers: Workers, space: Space, people: dict[tuple[str, int], list[Sample]], cache: Path, stage: str, show
) -> dict[tuple[str, int], FloatArray]:
    """(style, seed) -> embeddings (n, d) of a person's pairs, in the order in which samples were drawn; kept too."""
    kept = {}
    for key, rows in people.items():
        texts = json.dumps([[row.prompt, row.response] for row in rows])
        name = hashlib.sha256(f"{space.digest}\0{texts}".encode()).hexdigest()
        kept[key] = cache / "people" / space.digest[:16] / f"{name}.npy"
    missing = [key for key in people if not kept[key].is_file()]
    embedded = workers.run([Work(samples=tuple(people[key])) for key in missing])
    for number, (key, rows) in enumerate(zip(missing, embedded, strict=True), 1):
        with write_whole(kept[key]) as stream:
            np.save(stream, rows)
        show(stage, number, len(missing))
    return {key: np.load(file) for key, file in kept.items()}


def accuracies(
    people: dict, records: dict[Candidate, PoolRecord], space: Space, similarity: int, count: int
) -> dict[str, float]:
    """Mean and spread over draws of people and pools.

    `mean`: share of people whose nearest pLLM is that of their own style, as published. `started`: share whom the
    right pLLM is also near enough to start from. `abstained`: share sent to the base.
    """
    seeds = sorted({seed for _, seed in people})
    pools = sorted({c.pool for c in records})
    explained = {key: explain_embeddings(rows[:count], space, prompts="benchmark") for key, rows in people.items()}
    rates, started, abstained = [], [], []
    for pool in pools:
        candidates = [r for c, r in records.items() if (c.pool, c.similarity) == (pool, similarity)]
        for seed in seeds:
            chosen = {style: select(e, candidates) for (style, s), e in explained.items() if s == seed}
            rates.append(np.mean([style == found.ranking[0].name for style, found in chosen.items()]))
            started.append(np.mean([style == found.choice for style, found in chosen.items()]))
            abstained.append(np.mean([found.choice is None for found in chosen.values()]))
    return {
        "mean": float(np.mean(rates)),
        "sd": float(np.std(rates, ddof=1)) if len(rates) > 1 else 0.0,
        "draws": len(rates),
        "started": float(np.mean(started)),
        "abstained": float(np.mean(abstained)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    add_output_arguments(parser)
    args = parser.parse_args()
    styles = find_styles(args.styles)
    drawn = {
        (style, seed): person(args.styles, style, seed, max(COUNTS)) for seed in range(args.seeds) for style in styles
    }
    bare = {key: [Sample(None, sample.response) for sample in rows] for key, rows in drawn.items()}
    ordinary = {
        (DEFAULT_STYLE, seed): person(args.styles, DEFAULT_STYLE, seed, max(COUNTS)) for seed in range(args.seeds)
    }
    space = open_explainer(EMBEDDED_POOL).space
    with progress() as show, Workers(EMBEDDED_POOL, args.jobs) as workers:
        folders = tuned_pools(args, styles, show)
        records = explained_candidates(workers, space, folders, args.cache, show)
        people = embedded_people(workers, space, drawn, args.cache, "explaining people", show)
        unprompted = embedded_people(workers, space, bare, args.cache, "people without prompts", show)
        plain = embedded_people(workers, space, ordinary, args.cache, "people of the default data", show)
    most = max(COUNTS)
    middle = 90 if 90 in args.similarities else max(args.similarities)
    results = {
        "styles": styles,
        "words": list(space.words),
        "accuracy_by_similarity": {
            str(s): accuracies(people, records, space, s, most) for s in sorted(args.similarities)
        },
        "accuracy_by_samples": {str(n): accuracies(people, records, space, middle, n) for n in COUNTS},
        "accuracy_without_prompts": {
            str(s): accuracies(unprompted, records, space, s, most) for s in sorted(args.similarities)
        },
        "accuracy_without_prompts_by_samples": {
            str(n): accuracies(unprompted, records, space, middle, n) for n in COUNTS
        },
        "default_people_sent_to_the_base": accuracies(plain, records, space, middle, most)["abstained"],
    }
    promises = [
        Promise(f"accuracy at {s}% similarity", results["accuracy_by_similarity"][str(s)]["mean"], at_least=floor)
        for s, floor in PUBLISHED.items()
        if s in args.similarities
    ]
    finish("selection", results, promises, args)


if __name__ == "__main__":
    guarded(main)
