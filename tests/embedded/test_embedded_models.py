"""What comes with the package: small, explained rightly, and right about the sample people."""

from pathlib import Path

import pytest

from xpert.data import read_samples, split_samples
from xpert.device.merging import make_merge, plan_merge
from xpert.device.personalize import select_for
from xpert.embedded import ASSETS, EMBEDDED_POOL, PEOPLE, people
from xpert.explainer import Explainer
from xpert.merging.wishes import predicted, wish
from xpert.models.adapters import inspect_adapter
from xpert.models.loading import adapted
from xpert.opening import open_explainer
from xpert.pool import Pool, open_pool
from xpert.selecting import select
from xpert.tuning import validation_loss

CONTRARY = {
    "elementary": "expert",
    "expert": "elementary",
    "humorous": "neutral",
    "neutral": "humorous",
    "concise": "detailed",
    "detailed": "concise",
}
LEFT_OUT = "expert-neutral-detailed"  # in no training set of the summarizer
NAMES = (
    "elementary-humorous-concise",
    "elementary-neutral-concise",
    "elementary-humorous-detailed",
    "elementary-neutral-detailed",
    "expert-neutral-concise",
    "expert-humorous-detailed",
    LEFT_OUT,
)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return open_pool(EMBEDDED_POOL, read_only=True)


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return open_explainer(EMBEDDED_POOL)


def test_the_embedded_models_are_small() -> None:
    assert sum(file.stat().st_size for file in ASSETS.rglob("*") if file.is_file()) <= 30e6


def test_the_pool_holds_the_seven_styles(pool: Pool) -> None:
    assert {record.name for record in pool.list()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_strongest_words_are_true_and_no_contrary_one_stands_above_the_noise(pool: Pool, name: str) -> None:
    explanation = pool.get(name).explanation
    assert explanation is not None
    true = set(name.split("-"))
    contrary = {CONTRARY[word] for word in true}
    strongest = {word.word for word in explanation.strongest(2)}
    assert strongest
    assert strongest <= true
    above = {w.word for w in explanation.words if w.coefficient > w.floor}
    assert not above & contrary


def test_a_stored_explanation_is_made_again(pool: Pool, explainer: Explainer) -> None:
    stored = pool.get(LEFT_OUT).explanation
    again = explainer.explain_adapter(pool.adapter_path(LEFT_OUT))
    assert stored is not None
    assert again.digests == stored.digests
    # Another processor may round another way and sample another word here and there.
    assert again.coefficients == pytest.approx(stored.coefficients, abs=0.25)
    assert {w.word for w in again.strongest(2)} <= set(LEFT_OUT.split("-"))


@pytest.mark.parametrize("name", sorted(people()))
def test_every_sample_person_gets_the_start_that_fits(name: str, pool: Pool, explainer: Explainer) -> None:
    selection = select_for(read_samples(PEOPLE / f"{name}.jsonl"), pool, explainer)
    assert selection.choice == people()[name]["expected"]


def test_the_chosen_start_knows_the_person_better_than_the_base_does(pool: Pool, explainer: Explainer) -> None:
    _, held = split_samples(read_samples(PEOPLE / "mia.jsonl"), validation=20, seed=0)
    before = validation_loss(explainer.prober.base, held)
    with adapted(explainer.prober.base, pool.adapter_path("elementary-humorous-concise")) as chosen:
        after = validation_loss(chosen, held)
    assert after < before - 0.05


def test_the_sample_people_have_enough_to_say() -> None:
    for name in people():
        samples = read_samples(Path(PEOPLE) / f"{name}.jsonl")
        assert len(samples) >= 60
        assert all(sample.prompt for sample in samples)


@pytest.mark.parametrize("word", sorted(CONTRARY))
def test_for_every_word_the_pool_has_a_merge_that_is_predicted_to_have_it_first(
    pool: Pool, explainer: Explainer, word: str
) -> None:
    plan = plan_merge(wish({word: 1.0}, explainer.space), pool, wished=True)
    assert next(iter(predicted(plan, explainer.space))) == word
    assert plan.gain > 0.25


def test_a_wish_that_no_model_has_comes_true_in_a_merge(pool: Pool, explainer: Explainer, tmp_path: Path) -> None:
    wished = wish({"neutral": 1.0}, explainer.space)
    assert select(wished, pool.list()).ranking[0].gain < 0.3
    report = make_merge(
        plan_merge(wished, pool, wished=True), wished, pool, explainer, tmp_path / "merged", wished=True
    )
    assert report.measured is not None
    assert report.measured.strongest(1)[0].word == "neutral"
    assert inspect_adapter(tmp_path / "merged").rank == sum(pool.get(name).rank for name in report.done.weights)
