"""How often the right pLLM is chosen: by similarity of the pool, by number of samples, with and without prompts.

    python benchmarks/selection.py --styles DIR --json OUT [--check]

People are drawn from the test rows of every style (50 samples each); pools are tuned on the train rows with
30 to 100% stylistic data. A choice is right when the chosen pLLM was tuned on the person's style; abstaining
counts as wrong. Beside it: how often a person who writes like the default data is sent to the base.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import Promise, add_output_arguments, finish, progress
from pools import DEFAULT_STYLE, Candidate, add_arguments, find_styles, person, tuned_pools

from xpert.embedded import EMBEDDED_POOL
from xpert.explainer import Explainer
from xpert.explaining import explain_embeddings
from xpert.models.adapters import inspect_adapter
from xpert.opening import open_explainer
from xpert.probing.text import pair_person
from xpert.records import Explanation, PoolRecord, Sample
from xpert.selecting import select

PUBLISHED = {30: 0.250, 50: 0.536, 70: 0.857, 80: 0.964, 90: 0.964}
COUNTS = (5, 10, 20, 50)


def explained_candidates(
    explainer: Explainer, folders: dict[Candidate, Path], cache: Path, show
) -> dict[Candidate, PoolRecord]:
    """Records of all candidates, explained in the explainer's space; explanations are kept beside the pLLMs."""
    records = {}
    for number, (candidate, folder) in enumerate(folders.items(), 1):
        kept = cache / "explanations" / explainer.space.digest[:16] / f"{folder.name}.json"
        if not kept.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(explainer.explain_adapter(folder).model_dump_json())
        facts = inspect_adapter(folder)
        records[candidate] = PoolRecord(
            name=candidate.style,
            adapter=facts.digest,
            base=explainer.space.base,
            base_name="benchmark",
            rank=facts.rank,
            target_modules=facts.target_modules,
            size_bytes=facts.size_bytes,
            created="",
            explanation=Explanation.model_validate_json(kept.read_text()),
        )
        show("explaining pLLMs", number, len(folders))
    return records


def embedded_people(explainer: Explainer, args: argparse.Namespace, styles: Sequence[str], prompts: bool, show) -> dict:
    """(style, seed) -> embeddings (n, d) of a person's pairs, in the order in which samples were drawn."""
    people = {}
    for seed in range(args.seeds):
        for style in styles:
            samples = person(args.styles, style, seed, max(COUNTS))
            if not prompts:
                samples = [Sample(None, sample.response) for sample in samples]
            pairs = pair_person(explainer.prober.base, samples, explainer.prober.settings)
            people[style, seed] = explainer.summarizer.embed(pairs)
            show("explaining people" if prompts else "people without prompts", len(people), args.seeds * len(styles))
    return people


def accuracies(
    people: dict, records: dict[Candidate, PoolRecord], explainer: Explainer, similarity: int, count: int
) -> dict:
    """Mean, spread and abstentions over draws of people and pools."""
    seeds = sorted({seed for _, seed in people})
    pools = sorted({c.pool for c in records})
    explained = {
        key: explain_embeddings(rows[:count], explainer.space, prompts="benchmark") for key, rows in people.items()
    }
    rates, abstained = [], 0
    for pool in pools:
        candidates = [r for c, r in records.items() if (c.pool, c.similarity) == (pool, similarity)]
        for seed in seeds:
            chosen = {style: select(e, candidates).choice for (style, s), e in explained.items() if s == seed}
            rates.append(sum(style == choice for style, choice in chosen.items()) / len(chosen))
            abstained += sum(choice is None for choice in chosen.values())
    return {
        "mean": float(np.mean(rates)),
        "sd": float(np.std(rates, ddof=1)) if len(rates) > 1 else 0.0,
        "draws": len(rates),
        "abstained": abstained / (len(rates) * len({style for style, _ in people})),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    add_output_arguments(parser)
    args = parser.parse_args()
    styles = find_styles(args.styles)
    with progress() as show:
        folders = tuned_pools(args, styles, show)
        explainer = open_explainer(EMBEDDED_POOL)
        records = explained_candidates(explainer, folders, args.cache, show)
        people = embedded_people(explainer, args, styles, True, show)
        unprompted = embedded_people(explainer, args, styles, False, show)
        plain = embedded_people(explainer, args, [DEFAULT_STYLE], True, show)
    most = max(COUNTS)
    middle = 90 if 90 in args.similarities else max(args.similarities)
    results = {
        "styles": styles,
        "words": explainer.space.words,
        "accuracy_by_similarity": {
            str(s): accuracies(people, records, explainer, s, most) for s in sorted(args.similarities)
        },
        "accuracy_by_samples": {str(n): accuracies(people, records, explainer, middle, n) for n in COUNTS},
        "accuracy_without_prompts": {
            str(s): accuracies(unprompted, records, explainer, s, most) for s in sorted(args.similarities)
        },
        "accuracy_without_prompts_by_samples": {
            str(n): accuracies(unprompted, records, explainer, middle, n) for n in COUNTS
        },
        "default_people_sent_to_the_base": accuracies(plain, records, explainer, middle, most)["abstained"],
    }
    promises = [
        Promise(f"accuracy at {s}% similarity", results["accuracy_by_similarity"][str(s)]["mean"], at_least=floor)
        for s, floor in PUBLISHED.items()
        if s in args.similarities
    ]
    finish("selection", results, promises, args)


if __name__ == "__main__":
    main()
