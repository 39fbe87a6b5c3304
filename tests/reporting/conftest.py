"""Hand-made records to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from xpert.records import Digests, Explanation, PoolRecord, Selection, WordCoefficient
from xpert.selecting import select

WORDS = ("expert", "neutral", "detailed", "humorous")
DIGESTS = Digests(base="a" * 64, summarizer="b" * 64, prompts="c" * 64, space="d" * 64)
MakeExplanation = Callable[..., Explanation]


@dataclass(frozen=True)
class HandMadeRun:
    start: str | None
    steps: int
    seconds: float
    samples: int
    losses: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class HandMadeStory:
    person: str
    title: str
    pool: tuple[PoolRecord, ...]
    selection: Selection
    target_loss: float
    scratch: HandMadeRun
    warm: HandMadeRun | None


@pytest.fixture
def make_explanation() -> MakeExplanation:
    def make(*coefficients: float, words: Sequence[str] = WORDS, floor: float = 0.15) -> Explanation:
        return Explanation(
            words=tuple(
                WordCoefficient(word=word, coefficient=z, low=z - 0.11, high=z + 0.12, floor=floor)
                for word, z in zip(words, coefficients, strict=True)
            ),
            residual=0.37,
            pairs=50,
            noise=0.2,
            interval=0.95,
            digests=DIGESTS,
        )

    return make


@pytest.fixture
def person(make_explanation: MakeExplanation) -> Explanation:
    return make_explanation(0.91, 0.52, -0.64, 0.07)


@pytest.fixture
def pool(make_explanation: MakeExplanation) -> tuple[PoolRecord, ...]:
    def record(name: str, *coefficients: float) -> PoolRecord:
        return PoolRecord(
            name=name,
            adapter="e" * 64,
            base="a" * 64,
            base_name="xpert/base",
            rank=8,
            target_modules=("q_proj", "v_proj"),
            size_bytes=412_345,
            created="2026-11-22T11:00:00+00:00",
            explanation=make_explanation(*coefficients),
        )

    return (record("expert-concise", 0.83, 0.41, -0.72, -0.1), record("playful", -0.7, -0.5, 0.2, 0.95))


@pytest.fixture
def selection(person: Explanation, pool: tuple[PoolRecord, ...]) -> Selection:
    return select(person, pool)


@pytest.fixture
def story(pool: tuple[PoolRecord, ...], selection: Selection) -> HandMadeStory:
    return HandMadeStory(
        person="mia",
        title="short, simple and funny",
        pool=pool,
        selection=selection,
        target_loss=3.21,
        scratch=HandMadeRun(None, 60, 41.2, 44, ((0, 4.1), (30, 3.5), (60, 3.21))),
        warm=HandMadeRun(selection.choice, 12, 8.4, 44, ((0, 3.6), (12, 3.19))),
    )
