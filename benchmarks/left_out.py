r"""Is a combination of attributes described rightly that the summarizer never saw?

    python recipes/summarizer.py --styles DIR --base src/xpert/assets/base --out FOLDER \
        --leave-out 8 --lengths
    python benchmarks/left_out.py --styles DIR --summarizer FOLDER --style 8 --json OUT [--check]

Rebuilds the embedded pool's space with a summarizer that was trained without one style, then explains the
pLLM of that style, and people who write in it (50 test rows each). Right: the strongest word above the noise
is true of the style, and no contrary word stands above the noise. Promised for the pLLM; of people, that their
strongest word is true, and the share that is right altogether is told.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from common import Promise, add_output_arguments, finish, guarded, progress
from pools import person

from xpert.embedded import EMBEDDED_POOL
from xpert.errors import SettingsError
from xpert.opening import open_explainer, rebuild
from xpert.pool import open_pool
from xpert.records import Explanation

STYLES = Path(__file__).parents[1] / "recipes" / "styles.json"
NAMES = {style: "-".join(words) for style, words in json.loads(STYLES.read_text("utf-8")).items()}


def above_noise(explanation: Explanation) -> dict[str, float]:
    """Words above the noise, strongest first."""
    return {word.word: round(word.coefficient, 3) for word in explanation.strongest(len(explanation.words))}


def strongest(explanation: Explanation) -> str | None:
    """The strongest word above the noise."""
    return next((word.word for word in explanation.strongest(1)), None)


def right(explanation: Explanation, attributes: set[str]) -> bool:
    """Something stands above the noise, and all of it is true."""
    named = above_noise(explanation)
    return bool(named) and set(named) <= attributes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--styles", type=Path, required=True, help="the released style data")
    parser.add_argument("--summarizer", required=True, help="folder of a summarizer trained without the style")
    parser.add_argument("--style", default="8", choices=sorted(NAMES), help="the style that was left out")
    parser.add_argument("--seeds", type=int, default=5, help="number of draws of people")
    add_output_arguments(parser)
    args = parser.parse_args()
    name = NAMES[args.style]
    with tempfile.TemporaryDirectory() as room, progress() as show:
        folder = Path(shutil.copytree(EMBEDDED_POOL, Path(room) / "pool"))
        with open_pool(folder) as pool:
            setup = pool.setup.model_copy(update={"summarizer": str(Path(args.summarizer).resolve())})
            rebuild(pool, setup, on_progress=show)
            records = {record.name: record.explanation for record in pool.list()}
            explainer = open_explainer(pool)
        people = [
            explainer.explain_samples(person(args.styles, args.style, seed, 50), on_progress=show)[0]
            for seed in range(args.seeds)
        ]
    explained = {key: value for key, value in records.items() if value is not None}
    if name not in explained:
        raise SettingsError(f"the embedded pool holds no pLLM {name!r}")
    attributes = set(name.split("-"))
    others = [key for key in explained if key != name]
    results = {
        "left_out": name,
        "pllm": above_noise(explained[name]),
        "people": {str(seed): above_noise(told) for seed, told in enumerate(people)},
        "people_strongest_right": sum(strongest(told) in attributes for told in people) / len(people),
        "people_right": sum(right(told, attributes) for told in people) / len(people),
        "other_pllms": {key: above_noise(explained[key]) for key in others},
        "other_pllms_right": sum(right(explained[key], set(key.split("-"))) for key in others) / len(others),
    }
    promises = [
        Promise("the left-out pLLM is described rightly (1 or 0)", float(right(explained[name], attributes)), 1.0),
        Promise("share of people whose strongest word is true", results["people_strongest_right"], 1.0),
    ]
    finish("left_out", results, promises, args)


if __name__ == "__main__":
    guarded(main)
