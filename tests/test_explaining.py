"""One function explains a model and a person: planted coefficients, intervals, noise floor, refusals."""

from collections.abc import Sequence

import numpy as np
import pytest

from xpert.errors import DataError, SpaceError
from xpert.explaining import explain, explain_embeddings, noise_floor
from xpert.records import Explanation, OutputPair
from xpert.space.basis import Space
from xpert.summarizing.summarizer import FloatArray, Progress, Proposal

WIDTH, RNG = 16, np.random.default_rng(0)
AXES = np.linalg.qr(RNG.normal(size=(WIDTH, 3)))[0].T
ORIGIN = RNG.normal(size=WIDTH)
NOISE = 0.05


class PlantedSummarizer:
    """Reads the planted embedding out of the response's text."""

    identity = "s" * 64
    width = WIDTH

    def embed(self, pairs: Sequence[OutputPair], *, on_progress: Progress | None = None) -> FloatArray:
        return np.array([[float(x) for x in pair.response.split()] for pair in pairs])

    def propose(self, pairs: Sequence[OutputPair], *, limit: int = 24) -> list[Proposal]:
        return []

    def word_vectors(self, words: Sequence[str]) -> FloatArray:
        return np.zeros((len(words), WIDTH))


def space() -> Space:
    return Space(
        words=("formal", "humorous", "concise"),
        vectors=3.0 * AXES,
        origin=ORIGIN,
        null=ORIGIN + NOISE * np.random.default_rng(5).normal(size=(50, WIDTH)),
        scale=3.0,
        summarizer="s" * 64,
        base="b" * 64,
        prompts="p" * 64,
    )


def planted(z: Sequence[float], count: int = 50, seed: int = 1) -> list[OutputPair]:
    rows = ORIGIN + np.array(z) @ (3.0 * AXES) + NOISE * np.random.default_rng(seed).normal(size=(count, WIDTH))
    return [OutputPair(str(i), "", " ".join(map(repr, map(float, row)))) for i, row in enumerate(rows)]


def test_planted_coefficients_come_back_inside_their_intervals() -> None:
    found = explain(planted([0.8, 0.4, 0.0]), PlantedSummarizer(), space(), prompts="q")
    assert found.coefficients == pytest.approx((0.8, 0.4, 0.0), abs=0.02)
    for word, z in zip(found.words, (0.8, 0.4, 0.0), strict=True):
        assert word.low - 1e-9 <= z <= word.high
        assert word.high - word.low < 0.05
    assert [w.word for w in found.strongest()] == ["formal", "humorous"]
    assert found.residual < 0.2


def test_what_is_no_difference_stays_under_the_noise_floor() -> None:
    """A 95% floor: over many comparisons of the base with itself, about one word in twenty stands above it."""
    alarms, farther = [], []
    toward = np.array([1.0, -2.0, 0.5])
    _, reach = noise_floor(space(), 50, toward=toward)
    for seed in range(40):
        again = explain(planted([0.0, 0.0, 0.0], seed=100 + seed), PlantedSummarizer(), space(), prompts="q")
        alarms += [w.above_noise for w in again.words]
        farther.append(np.asarray(again.position) @ toward / np.linalg.norm(toward) > reach)
    assert np.mean(alarms) < 0.12
    assert np.mean(farther) < 0.15


def test_a_small_true_difference_stands_above_the_noise_floor() -> None:
    found = explain(planted([0.05, 0.0, 0.0]), PlantedSummarizer(), space(), prompts="q")
    assert found.words[0].above_noise


def test_fewer_pairs_raise_the_floor() -> None:
    few, many = noise_floor(space(), 5), noise_floor(space(), 50)
    # sqrt((1/5 + 1/50) / (2/50)) = 2.35; quantiles of a bootstrap leave some room.
    assert (few[0] > 1.5 * many[0]).all()
    assert few[1] > 1.5 * many[1]


def test_coefficients_do_not_grow_with_the_number_of_pairs() -> None:
    pairs = planted([0.5, 0.1, 0.2])
    once = explain(pairs, PlantedSummarizer(), space(), prompts="q")
    thrice = explain(pairs * 3, PlantedSummarizer(), space(), prompts="q")
    assert thrice.coefficients == pytest.approx(once.coefficients, abs=1e-9)


def test_the_same_input_gives_the_same_bytes_and_json_round_trips() -> None:
    one = explain(planted([0.3, 0.2, 0.1]), PlantedSummarizer(), space(), prompts="q")
    two = explain(planted([0.3, 0.2, 0.1]), PlantedSummarizer(), space(), prompts="q")
    assert one.model_dump_json() == two.model_dump_json()
    assert Explanation.model_validate_json(one.model_dump_json()) == one


def test_another_summarizer_and_another_width_are_refused() -> None:
    other = PlantedSummarizer()
    other.identity = "t" * 64
    with pytest.raises(SpaceError, match=r"built with summarizer ssss.*this one is tttt.*reindex"):
        explain(planted([0, 0, 0]), other, space(), prompts="q")
    with pytest.raises(SpaceError, match="8 numbers"):
        explain_embeddings(np.zeros((4, 8)), space(), prompts="q")


def test_no_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="at least one"):
        explain([], PlantedSummarizer(), space(), prompts="q")
