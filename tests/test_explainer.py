"""Adapters and people are explained in one space; the base against itself is noise; strangers are refused."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from xpert.errors import MismatchError, SpaceError
from xpert.explainer import Explainer, Prober
from xpert.explaining import explain, noise_floor
from xpert.models.loading import load_model
from xpert.models.reference import ModelReference
from xpert.probing.prompts import default_prompts
from xpert.probing.text import ProbeSettings, answer, pair_up
from xpert.records import OutputPair, Sample
from xpert.space.basis import Space
from xpert.summarizing.summarizer import FloatArray, Progress, Proposal
from xpert.testing.tiny import tiny_adapter, tiny_base

WIDTH, SETTINGS = 8, ProbeSettings(max_new_tokens=24)


class CountingSummarizer:
    """Which characters the second text has more of: a summarizer whose truth is known."""

    identity = "c" * 64
    width = WIDTH

    def embed(self, pairs: Sequence[OutputPair], *, on_progress: Progress | None = None) -> FloatArray:
        return np.array([self._shares(pair.response) - self._shares(pair.reference) for pair in pairs])

    def _shares(self, text: str) -> FloatArray:
        counts = np.bincount([ord(character) % WIDTH for character in text], minlength=WIDTH)
        return counts / max(1, counts.sum())

    def propose(self, pairs: Sequence[OutputPair], *, limit: int = 24) -> list[Proposal]:
        return []

    def word_vectors(self, words: Sequence[str]) -> FloatArray:
        return np.zeros((len(words), WIDTH))


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explainer")
    base = tiny_base(folder / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    for parameter in model.parameters():
        parameter.data.mul_(20 if parameter.ndim == 2 else 1)  # a random model says everything alike otherwise
    model.save_pretrained(base)
    layers = ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    tiny_adapter(base, folder / "amy", seed=1, targets=layers, scale=2.0)
    return folder


@pytest.fixture(scope="module")
def prober(room: Path) -> Prober:
    return Prober(load_model(ModelReference(str(room / "base")), device="cpu"), settings=SETTINGS)


@pytest.fixture(scope="module")
def space(prober: Prober) -> Space:
    null = CountingSummarizer().embed(prober.null_pairs())
    return Space(
        words=("vowelled", "hissing", "round"),
        vectors=0.2 * np.eye(3, WIDTH, k=1),
        origin=null.mean(0),
        null=null,
        scale=0.2,
        summarizer=CountingSummarizer.identity,
        base=prober.base.digest,
        prompts=prober.digest,
    )


@pytest.fixture(scope="module")
def explainer(prober: Prober, space: Space) -> Explainer:
    return Explainer(prober, CountingSummarizer(), space)


def test_an_adapter_stands_above_the_noise_and_the_base_does_not(
    explainer: Explainer, prober: Prober, space: Space, room: Path
) -> None:
    found = explainer.explain_adapter(room / "amy")
    assert np.linalg.norm(found.position) > found.noise
    assert any(word.above_noise for word in found.words)
    for offset in (2, 3, 9):
        again = answer(prober.base, prober.prompts, SETTINGS, seed_offset=offset)
        itself = pair_up(prober.prompts, prober.references(), again)
        base = explain(itself, CountingSummarizer(), space, prompts=prober.digest)
        assert np.linalg.norm(base.position) < np.linalg.norm(found.position) / 2
        assert not any(word.above_noise for word in base.words)


def test_the_floor_knows_that_the_origin_is_a_mean_too(space: Space) -> None:
    rng, above, draws = np.random.default_rng(0), 0, 300
    for _ in range(draws):
        null, again = rng.normal(size=(2, 40, WIDTH))
        drawn = replace(space, null=null, origin=null.mean(0))
        above += int((np.abs(drawn.coefficients(again.mean(0))) > noise_floor(drawn, 40)[0]).sum())
    assert 0.03 < above / (3 * draws) < 0.08


def test_an_adapter_is_explained_by_its_answers(explainer: Explainer, prober: Prober, space: Space, room: Path) -> None:
    tuned = load_model(ModelReference(str(room / "base"), str(room / "amy")), device="cpu")
    pairs = pair_up(prober.prompts, prober.references(), answer(tuned, prober.prompts, SETTINGS))
    assert prober.adapter_pairs(room / "amy") == pairs
    wanted = explain(pairs, CountingSummarizer(), space, prompts=prober.digest)
    found = explainer.explain_adapter(room / "amy")
    assert found.model_dump_json() == wanted.model_dump_json()
    assert (found.pairs, found.digests.prompts, found.digests.base) == (50, prober.digest, prober.base.digest)


def test_the_base_answers_once(prober: Prober, room: Path) -> None:
    fresh = Prober(prober.base, default_prompts()[:3], SETTINGS)
    news: list[tuple[str, int, int]] = []
    fresh.adapter_pairs(room / "amy", lambda *said: news.append(said))
    assert news == [("answering", 3, 3)] * 2
    fresh.adapter_pairs(room / "amy", lambda *said: news.append(said))
    assert len(news) == 3
    assert fresh.digest != prober.digest


def test_noise_is_another_draw_of_the_same_model(prober: Prober) -> None:
    pairs = prober.null_pairs()
    assert [pair.prompt for pair in pairs] == list(prober.prompts)
    assert [pair.reference for pair in pairs] == prober.references()
    assert sum(pair.reference != pair.response for pair in pairs) > 45


def test_a_person_is_explained_by_a_drawn_few(explainer: Explainer, prober: Prober) -> None:
    samples = [Sample(f"What is {i}?", "aaaa " * 4) for i in range(8)] + [Sample(None, "iiii")] * 8
    found, reference = explainer.explain_samples(samples, limit=5)
    assert (found.pairs, reference) == (5, "prompts")
    assert explainer.explain_samples(samples, limit=5) == (found, reference)
    assert explainer.explain_samples(samples, limit=5, seed=1)[0].digests.prompts != found.digests.prompts
    assert found.digests.space == explainer.space.digest
    assert found.digests.prompts != prober.digest
    # "a" is 97, the first of eight: the first word.
    assert found.coefficients[0] == max(found.coefficients)


def test_texts_without_prompts_are_told_apart(explainer: Explainer) -> None:
    found, reference = explainer.explain_samples([Sample(None, "iiii aaaa iiii")] * 3)
    assert (found.pairs, reference) == (3, "continuation")


def test_fewer_samples_are_noisier(explainer: Explainer) -> None:
    samples = [Sample(f"What is {i}?", "aaaa") for i in range(20)]
    few, many = (explainer.explain_samples(samples, limit=limit)[0] for limit in (3, 20))
    assert few.noise > many.noise
    assert few.words[0].floor > many.words[0].floor


def test_a_space_of_another_base_or_other_prompts_is_refused(prober: Prober, space: Space) -> None:
    with pytest.raises(MismatchError, match=r"built over base bbbbbbbbbbbb, the loaded base is .*`xpert pool reindex`"):
        Explainer(prober, CountingSummarizer(), replace(space, base="b" * 64))
    with pytest.raises(MismatchError, match=r"built with prompts pppppppppppp, these are .*`xpert pool reindex`"):
        Explainer(prober, CountingSummarizer(), replace(space, prompts="p" * 64))
    other = Prober(prober.base, settings=ProbeSettings(max_new_tokens=25))
    with pytest.raises(MismatchError, match="the pool's own prompts"):
        Explainer(other, CountingSummarizer(), space)


def test_another_summarizer_is_refused(prober: Prober, space: Space, room: Path) -> None:
    mixed = Explainer(prober, CountingSummarizer(), replace(space, summarizer="s" * 64))
    with pytest.raises(SpaceError, match=r"summarizer ssssssssssss, this one is cccccccccccc"):
        mixed.explain_adapter(room / "amy")


def test_more_draws_answer_every_prompt_again(prober: Prober) -> None:
    twice = Prober(prober.base, prober.prompts, replace(SETTINGS, draws=2))
    count = len(prober.prompts)
    references, null = twice.references(), twice.null_pairs()
    assert references[:count] == prober.references()
    assert references[count:] != references[:count]
    assert [pair.prompt for pair in null] == [*prober.prompts, *prober.prompts]
    answers = [
        references[:count],
        references[count:],
        *([pair.response for pair in null[i : i + count]] for i in (0, count)),
    ]
    assert len({tuple(texts) for texts in answers}) == 4
    assert twice.digest != prober.digest
