"""Output pairs of a language model, and of a person.

The reference must answer the same prompts: a person's text minus an unrelated neutral text says more of
the topic than of the style. Knows generation; never sees a summarizer.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from xpert.errors import DataError
from xpert.models.generation import Progress, cut, generate
from xpert.models.loading import LoadedModel
from xpert.records import OutputPair, Sample

_START_WORDS = 12


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How prompts are answered; part of an explanation's identity.

    Attributes:
        max_new_tokens: length at which an answer is cut.
        temperature, top_p: of sampling; temperature 0 is greedy.
        seed: of sampling.
        draws: how often base and pLLM answer every prompt, to average out chance.
    """

    max_new_tokens: int = 192
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0
    draws: int = 1

    def digest(self, prompts: Sequence[str]) -> str:
        """SHA-256 of the prompts and of how they are answered."""
        return hashlib.sha256(json.dumps([list(prompts), asdict(self)]).encode()).hexdigest()


def answer(
    loaded: LoadedModel,
    prompts: Sequence[str],
    settings: ProbeSettings,
    *,
    seed_offset: int = 0,
    system: str | None = None,
    on_progress: Progress | None = None,
) -> list[str]:
    """The model's answers to the prompts; `seed_offset` gives another draw of the same model."""
    return generate(
        loaded,
        prompts,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=settings.seed + seed_offset,
        system=system,
        on_progress=on_progress,
    )


def pair_up(prompts: Sequence[str], references: Sequence[str], responses: Sequence[str]) -> list[OutputPair]:
    """Pairs of the two writers' answers to the same prompts."""
    return [OutputPair(p, a, b) for p, a, b in zip(prompts, references, responses, strict=True)]


def draw_samples(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """At most `count` samples, those with a prompt first, drawn by seed, in their old order."""
    prompted = [i for i, s in enumerate(samples) if s.prompt is not None]
    pool = prompted or list(range(len(samples)))
    rng = random.Random(seed)
    return [samples[i] for i in sorted(rng.sample(pool, min(count, len(pool))))]


def pair_person(
    base: LoadedModel,
    samples: Sequence[Sample],
    settings: ProbeSettings,
    *,
    on_progress: Progress | None = None,
) -> list[OutputPair]:
    """A person's texts beside the base model's answers to the same prompts.

    The text of a sample without prompt stands for its own question: the base answers the text's first
    words as if they were asked. Both sides are cut at the same number of tokens.

    Raises:
        DataError: there is no sample.
    """
    if not samples:
        raise DataError("no samples to explain: give at least one text")
    prompts = [sample.prompt if sample.prompt is not None else recovered_prompt(sample.response) for sample in samples]
    references = answer(base, prompts, settings, on_progress=on_progress)
    own = [cut(base.tokenizer, sample.response, settings.max_new_tokens) for sample in samples]
    return pair_up(prompts, references, own)


def recovered_prompt(text: str) -> str:
    """A question that the text may have answered: its first words."""
    return " ".join(text.split()[:_START_WORDS])
