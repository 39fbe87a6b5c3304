"""Explaining and tuning against the loops that one would write with transformers and peft, side by side in one run.

    python benchmarks/explaining.py --check

The plain side (`plain_loop.py`) is what the libraries' own documentation leads to: base and pLLM as two models,
one prompt at a time; one forward pass a pair with all hidden states; a DataLoader, `model(**batch).loss` and
AdamW. The batched side (of explaining) is what a user writes who knows the libraries: batches of like length, padded
on the left, and the model's body alone for embeddings. All sides answer the same prompts with the same sampling, embed
the same pairs and learn from the same samples for as many epochs. The other sides load their models outside the clock,
ours switches the adapter on inside it. Repetitions alternate the order of the sides; rates are medians, ratios medians
of each repetition's ratio.

Shares of the machine are model operations over what square matrix products reach, counting useful tokens only,
for all sides alike (B body parameters, H those of the output layer, attention left out):

    probing    2 B (prompt and answer tokens) + 2 H (answer tokens)
    embedding  2 B (question tokens)
    tuning     4 B (all tokens) + 4 H (response tokens): forward, and the gradients of activations
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from common import Clock, Promise, Show, add_output_arguments, finish, guarded, matrix_rate, progress
from peft import PeftModel
from plain_loop import (
    batched_answers,
    batched_embeddings,
    plain_answers,
    plain_embeddings,
    plain_rows,
    plain_tuning,
)
from transformers import AutoModelForCausalLM, AutoTokenizer

from xpert.embedded import EMBEDDED_POOL
from xpert.explainer import Prober
from xpert.models.chats import render_chat
from xpert.models.generation import CUT
from xpert.models.loading import choose_dtype, load_model
from xpert.models.reference import ModelReference
from xpert.pool import open_pool
from xpert.probing.prompts import default_prompts
from xpert.probing.text import ProbeSettings, pair_up
from xpert.records import OutputPair, Sample
from xpert.summarizing.instruction import ask_pair
from xpert.summarizing.language import LanguageSummarizer
from xpert.tuning import TuningSettings, tune
from xpert.tuning.batches import encode

SIDES = ("ours", "plain", "batched")
TUNING_SIDES = SIDES[:2]
"""The plain loop of tuning is batched already."""
STAGES = ("probing", "embedding", "explaining", "tuning")


@dataclass(frozen=True)
class Run:
    """One timed piece of work: seconds, and how much was done in them."""

    wall_s: float
    cpu_s: float
    items: int
    tokens: int
    operations: float

    def then(self, other: Run) -> Run:
        """This and then the other, over the same items."""
        return Run(
            self.wall_s + other.wall_s,
            self.cpu_s + other.cpu_s,
            self.items,
            self.tokens + other.tokens,
            self.operations + other.operations,
        )


@dataclass(frozen=True)
class Size:
    """How many parameters a token passes: the body for each, the output layer's where a word is chosen."""

    body: int
    head: int

    @classmethod
    def of(cls, model: Any) -> Size:
        """All but the tables at both ends, and the table at the end; the two may be one."""
        first, last = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        tables = {id(table): table.numel() for table in (first, last)}
        return cls(sum(p.numel() for p in model.parameters()) - sum(tables.values()), last.numel())


class Bench:
    """All sides' models in memory, and a timed method for each stage.

    Every method takes the side and returns the `Run` and what was made.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.prompts = default_prompts()[: args.prompts]
        self.probe = ProbeSettings(max_new_tokens=args.max_new_tokens)
        self.tuning_settings = TuningSettings(
            max_length_tokens=args.max_length_tokens, evaluate_every=None, patience=None, save_every=10**6
        )
        self.epochs, self.reference = args.epochs, ModelReference(args.base)
        self.base = load_model(self.reference, device=args.device)
        self.device = self.base.device
        self.summarizer = LanguageSummarizer(load_model(ModelReference(args.summarizer), device=args.device))
        self.adapter = Path(args.adapter) if args.adapter else _first_of_the_pool()
        self.tokenizer = AutoTokenizer.from_pretrained(self.base.folder)
        self.summarizer_tokenizer = AutoTokenizer.from_pretrained(self.summarizer.loaded.folder)
        self.plain_base = self._load(self.base.folder)
        self.plain_pllm = PeftModel.from_pretrained(self._load(self.base.folder), str(self.adapter)).eval()
        self.plain_summarizer = self._load(self.summarizer.loaded.folder)
        self.size, self.summarizer_size = Size.of(self.base.model), Size.of(self.summarizer.loaded.model)

    def _load(self, folder: Path) -> Any:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=choose_dtype(self.device))
        return model.to(self.device).eval()

    def probing(self, side: str, prompts: Sequence[str] | None = None) -> tuple[Run, list[OutputPair]]:
        """Base and pLLM answer all prompts."""
        asked = tuple(prompts or self.prompts)
        with Clock(self.device) as clock:
            if side == "ours":
                pairs = Prober(self.base, asked, self.probe).adapter_pairs(self.adapter)
            else:
                answers = plain_answers if side == "plain" else batched_answers
                references = answers(self.plain_base, self.tokenizer, asked, self.probe)
                pairs = pair_up(asked, references, answers(self.plain_pllm, self.tokenizer, asked, self.probe))
        read = 2 * self._tokens([render_chat(self.tokenizer, prompt) for prompt in asked])
        # Counted in the texts: padding, and what is computed after an end, is nobody's gain.
        made = self._tokens([text.removesuffix(CUT) for pair in pairs for text in (pair.reference, pair.response)])
        operations = 2.0 * self.size.body * (read + made) + 2.0 * self.size.head * made
        return Run(clock.wall_s, clock.cpu_s, len(pairs), made, operations), pairs

    def _tokens(self, texts: list[str]) -> int:
        return sum(len(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"])

    def embedding(self, side: str, pairs: Sequence[OutputPair]) -> tuple[Run, np.ndarray]:
        """The summarizer reads the pairs."""
        with Clock(self.device) as clock:
            if side == "ours":
                rows = self.summarizer.embed(pairs)
            else:
                questions = [ask_pair(pair) for pair in pairs]
                embeddings = plain_embeddings if side == "plain" else batched_embeddings
                rows = embeddings(self.plain_summarizer, self.summarizer_tokenizer, questions)
        tokens = sum(len(self.summarizer.tokens(ask_pair(pair))) for pair in pairs)
        operations = 2.0 * self.summarizer_size.body * tokens
        return Run(clock.wall_s, clock.cpu_s, len(pairs), tokens, operations), rows

    def tuning(self, side: str, samples: Sequence[Sample]) -> tuple[Run, list[float]]:
        """A fresh adapter learns from the samples for all epochs; `items` are response tokens."""
        settings = self.tuning_settings
        if side == "ours":
            steps = self.epochs * -(-len(samples) // settings.batch_size)
            encoded = encode(self.tokenizer, samples, settings.max_length_tokens)
            lengths = [(len(sample.tokens), len(sample.tokens) - sample.start) for sample in encoded]
            with tempfile.TemporaryDirectory() as folder:
                done = tune(
                    self.reference,
                    samples,
                    [],
                    Path(folder) / "adapter",
                    settings.model_copy(update={"max_steps": steps}),
                    device=str(self.device),
                )
            wall, cpu, losses = done.seconds, done.cpu_seconds, done.train_losses
        else:
            rows = plain_rows(self.tokenizer, samples, settings.max_length_tokens)
            lengths = [(len(ids), sum(label != -100 for label in labels)) for ids, labels in rows]
            clock, model = Clock(self.device), self._load(self.base.folder)
            losses = plain_tuning(model, rows, self.tokenizer.pad_token_id, settings, self.epochs, clock)
            wall, cpu = clock.wall_s, clock.cpu_s
        tokens, learned = (self.epochs * sum(column) for column in zip(*lengths, strict=True))
        operations = 4.0 * self.size.body * tokens + 4.0 * self.size.head * learned
        return Run(wall, cpu, learned, tokens, operations), losses


def _first_of_the_pool() -> Path:
    pool = open_pool(EMBEDDED_POOL)
    return pool.adapter_path(pool.list()[0].name)


@dataclass
class Found:
    """All runs by stage and side, and how far the others' embeddings lie from ours (relative, the largest)."""

    runs: dict[str, dict[str, list[Run]]]
    embeddings_apart: float = 0.0


def measure(bench: Bench, repeats: int, show: Show) -> Found:
    """Run every stage on both sides, in turns."""
    found = Found({stage: {side: [] for side in _sides(stage)} for stage in STAGES})
    for side in SIDES:  # the first call of anything is slow
        _, pairs = bench.probing(side, bench.prompts[:2])
        bench.embedding(side, pairs)
    for repeat in range(repeats):
        order = SIDES if repeat % 2 == 0 else SIDES[::-1]
        probed = {side: bench.probing(side) for side in order}
        show("probing", repeat + 1, repeats)
        pairs = probed["ours"][1]
        embedded = {side: bench.embedding(side, pairs) for side in order}
        show("embedding", repeat + 1, repeats)
        samples = [Sample(pair.prompt, pair.response.removesuffix(CUT)) for pair in pairs]
        tuned = {side: bench.tuning(side, samples) for side in order if side in TUNING_SIDES}
        show("tuning", repeat + 1, repeats)
        for side in SIDES:
            parts = {"probing": probed[side][0], "embedding": embedded[side][0]}
            parts["explaining"] = parts["probing"].then(parts["embedding"])
            if side in tuned:
                parts["tuning"] = tuned[side][0]
            for stage, run in parts.items():
                found.runs[stage][side].append(run)
            other = embedded[side][1]
            apart = np.abs(embedded["ours"][1] - other).max() / np.abs(other).max()
            found.embeddings_apart = max(found.embeddings_apart, float(apart))
    return found


def _sides(stage: str) -> tuple[str, ...]:
    return TUNING_SIDES if stage == "tuning" else SIDES


def refuse_unequal_work(found: Found, device: torch.device) -> None:
    """A ratio means nothing unless all sides did the same.

    Answers are random, so their lengths may differ by chance: by a factor of 1 + 5 / sqrt(answers) at most.

    Raises:
        RuntimeError: other embeddings, or more tokens on one side.
    """
    allowed = 1e-3 if device.type == "cpu" else 5e-2
    if not found.embeddings_apart <= allowed:
        raise RuntimeError(f"embeddings differ by {found.embeddings_apart:.2g}, at most {allowed:g} is rounding")
    made = {side: sum(run.tokens for run in runs) for side, runs in found.runs["probing"].items()}
    answers = 2 * sum(run.items for run in found.runs["probing"]["ours"])
    for side, tokens in made.items():
        if abs(math.log(made["ours"] / tokens)) > math.log(1 + 5 / math.sqrt(answers)):
            raise RuntimeError(f"answers have {made['ours']} tokens on our side and {tokens} on the {side} one")
    for ours, plain in zip(*(found.runs["tuning"][side] for side in TUNING_SIDES), strict=True):
        if (ours.items, ours.tokens) != (plain.items, plain.tokens):
            raise RuntimeError(f"tuning saw {ours.tokens} tokens on our side and {plain.tokens} on the plain one")


def summarise(found: Found, stage: str, rate: float) -> dict[str, Any]:
    """Medians of one stage."""
    unit = "response_tokens_per_s" if stage == "tuning" else "pairs_per_s"
    summary: dict[str, Any] = {}
    for side, runs in found.runs[stage].items():
        summary[side] = {
            unit: median(run.items / run.wall_s for run in runs),
            "tokens_per_s": median(run.tokens / run.wall_s for run in runs),
            "wall_s": median(run.wall_s for run in runs),
            "cpu_s": median(run.cpu_s for run in runs),
            "share_of_matrix_rate": median(run.operations / run.wall_s for run in runs) / rate,
        }
    summary |= _ratios(found.runs[stage], "plain", "ratio")
    if "batched" in found.runs[stage]:
        summary |= _ratios(found.runs[stage], "batched", "ratio_batched")
    return summary


def _ratios(runs: Mapping[str, Sequence[Run]], side: str, name: str) -> dict[str, float]:
    """Our rate over that of another side: median and range over the repetitions, and the same for processor time."""
    both = list(zip(runs["ours"], runs[side], strict=True))
    ratios = [(ours.items / ours.wall_s) / (other.items / other.wall_s) for ours, other in both]
    return {
        name: median(ratios),
        f"{name}_lowest": min(ratios),
        f"{name}_highest": max(ratios),
        f"{name}_of_cpu_time": median(other.cpu_s / ours.cpu_s for ours, other in both),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="xpert/base", help="base model with a chat template: name or folder")
    parser.add_argument("--summarizer", default="xpert/summarizer", help="causal LM that reads the pairs")
    parser.add_argument("--adapter", help="adapter folder of a pLLM (default: the first of the embedded pool)")
    parser.add_argument("--prompts", type=int, default=50, help="number of prompts, 50 at most")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions; 3 or more for figures to be told")
    parser.add_argument("--epochs", type=int, default=3, help="of tuning, over the pLLM's own answers")
    parser.add_argument("--max-new-tokens", type=int, default=192)
    parser.add_argument("--max-length-tokens", type=int, default=256)
    parser.add_argument("--device", default="auto")
    add_output_arguments(parser)
    args = parser.parse_args(argv)
    with progress() as show:
        bench = Bench(args)
        rate = matrix_rate(bench.device)
        found = measure(bench, args.repeats, show)
        rate = max(rate, matrix_rate(bench.device))
    refuse_unequal_work(found, bench.device)
    results: dict[str, Any] = {stage: summarise(found, stage, rate) for stage in STAGES}
    results["embeddings_apart"] = found.embeddings_apart
    results["matrix_rate_flop_per_s"] = rate
    results["base_parameters"] = bench.size.body + bench.size.head
    results["summarizer_parameters"] = bench.summarizer_size.body + bench.summarizer_size.head
    results |= {name: vars(args)[name] for name in ("prompts", "repeats", "epochs", "max_new_tokens")}
    promises = [
        Promise("explaining, pairs/s, ours / plain", results["explaining"]["ratio"], at_least=3.0),
        Promise("explaining, pairs/s, ours / batched", results["explaining"]["ratio_batched"], at_least=0.9),
        Promise("tuning, response tokens/s, ours / plain", results["tuning"]["ratio"], at_least=1.0),
    ]
    finish("explaining", results, promises, args, device=bench.device)


if __name__ == "__main__":
    guarded(main)
