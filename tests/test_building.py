"""A space is built from a pool: words that are distinct and needed, the same bytes wherever it is built."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from xpert.building import BuiltSpace, build_space, exact_vectors
from xpert.errors import SpaceError
from xpert.explainer import Explainer, Prober
from xpert.models.loading import load_model
from xpert.models.reference import ModelReference
from xpert.probing.prompts import default_prompts
from xpert.probing.rewriting import StyleTurns
from xpert.probing.text import ProbeSettings
from xpert.space.decomposition import overlap
from xpert.space.storing import load_space, save_space
from xpert.summarizing.language import LanguageSummarizer
from xpert.testing.tiny import tiny_adapter, tiny_base, tiny_tokenizer

WORDS = tuple("formal funny terse wordy kind rude plain poetic expert simple warm cold dry lively grave sassy".split())
TOKENS = tuple(f" {word}" for word in WORDS)
PROMPTS, SETTINGS = default_prompts()[:6], ProbeSettings(max_new_tokens=12)
BUILD_AND_EXPLAIN = """
import json, sys
from pathlib import Path
from xpert.building import build_space
from xpert.explainer import Explainer, Prober
from xpert.models.loading import load_model
from xpert.models.reference import ModelReference
from xpert.probing.prompts import default_prompts
from xpert.probing.rewriting import StyleTurns
from xpert.probing.text import ProbeSettings
from xpert.records import Sample
from xpert.summarizing.language import LanguageSummarizer

room, settings = Path(sys.argv[1]), ProbeSettings(max_new_tokens=12)
prober = Prober(load_model(ModelReference(str(room / "base")), device="cpu"), default_prompts()[:6], settings)
summarizer = LanguageSummarizer(load_model(ModelReference(str(room / "summarizer")), device="cpu"))
adapters = {name: room / name for name in ("amy", "bob")}
options = {"exact_words": 2, "held_out": False, "least_probability": 0.0}
built = build_space(prober, summarizer, adapters, StyleTurns(prober.base, settings), **options)
explainer = Explainer(prober, summarizer, built.space)
found = {name: explainer.explain_adapter(path).model_dump() for name, path in adapters.items()}
person, _ = explainer.explain_samples([Sample("Why?", "Because it is so."), Sample("Who?", "Nobody.")])
print(json.dumps({"space": built.space.digest, "words": built.space.words, "person": person.model_dump(), **found}))
"""


def lively(folder: Path) -> Path:
    """Layers that outweigh the embeddings; a random model hardly hears its input otherwise."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    for parameter in model.model.layers.parameters():
        parameter.data.mul_(20 if parameter.ndim == 2 else 1)
    model.get_input_embeddings().weight.data[len(tiny_tokenizer()) :] *= 4  # whole words come first
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("building")
    base = lively(tiny_base(folder / "base"))
    lively(tiny_base(folder / "summarizer", seed=5, extra=TOKENS))
    for seed, name in enumerate(("amy", "bob")):
        tiny_adapter(base, folder / name, seed=seed)
    return folder


@pytest.fixture(scope="module")
def prober(room: Path) -> Prober:
    return Prober(load_model(ModelReference(str(room / "base")), device="cpu"), PROMPTS, SETTINGS)


@pytest.fixture(scope="module")
def summarizer(room: Path) -> LanguageSummarizer:
    return LanguageSummarizer(load_model(ModelReference(str(room / "summarizer")), device="cpu"))


def build(prober: Prober, summarizer: LanguageSummarizer, room: Path, **options: object) -> BuiltSpace:
    adapters = {name: room / name for name in ("bob", "amy")}
    rewriter = StyleTurns(prober.base, prober.settings)
    wanted = {"exact_words": 2, "held_out": False, "least_probability": 0.0, **options}
    return build_space(prober, summarizer, adapters, rewriter, **wanted)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def built(prober: Prober, summarizer: LanguageSummarizer, room: Path) -> BuiltSpace:
    return build(prober, summarizer, room)


def test_words_are_distinct_and_few(built: BuiltSpace) -> None:
    words = built.space.words
    assert 1 < len(words) == len(set(words)) <= 12
    assert set(words) <= set(WORDS)
    assert built.space.vectors.shape == (len(words), built.space.width)


def test_thresholds_are_kept(prober: Prober, summarizer: LanguageSummarizer, room: Path) -> None:
    space = build(prober, summarizer, room, e_decomp=0.5).space
    rows = space.vectors
    assert all(overlap(rows[i], rows[j : j + 1]) <= space.e_ortho for i, j in combinations(range(len(rows)), 2))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), space.scale)
    fewer = replace(space, words=space.words[:-1], vectors=rows[:-1], axes=None)
    means = [summarizer.embed(prober.adapter_pairs(room / name)).mean(0) for name in ("amy", "bob")]
    assert all(space.residual(mean) <= 0.5 for mean in means)
    assert any(fewer.residual(mean) > 0.5 for mean in means), "no word more than is needed"


def test_the_origin_is_the_base_against_itself(
    built: BuiltSpace, prober: Prober, summarizer: LanguageSummarizer
) -> None:
    null = summarizer.embed(prober.null_pairs())
    np.testing.assert_array_equal(built.space.null, null)
    np.testing.assert_allclose(built.space.origin, null.mean(0))
    np.testing.assert_allclose(built.space.coefficients(null.mean(0)), 0, atol=1e-9)
    assert (built.space.base, built.space.prompts) == (prober.base.digest, prober.digest)
    assert built.space.summarizer == summarizer.identity


def test_exact_words_are_restyled_texts_through_the_summarizer(
    built: BuiltSpace, prober: Prober, summarizer: LanguageSummarizer
) -> None:
    rewriter, origin = StyleTurns(prober.base, prober.settings), built.space.origin
    word = built.exact_words[0]
    exact = exact_vectors(prober, summarizer, [word], rewriter, origin)[word]
    wanted = summarizer.embed(rewriter.restyle(PROMPTS, prober.references(), word)).mean(0) - origin
    np.testing.assert_array_equal(exact, wanted)
    if word in built.space.words:
        row = built.space.vectors[built.space.words.index(word)]
        np.testing.assert_allclose(row / np.linalg.norm(row), exact / np.linalg.norm(exact))


def test_the_fast_path_was_tuned_against_the_exact_words(built: BuiltSpace, summarizer: LanguageSummarizer) -> None:
    assert len(built.exact_words) == 2
    assert built.calibration is not None
    assert built.calibration.cosine_after > built.calibration.cosine_before
    assert built.calibration.cosine_held_out is None
    assert built.calibration.summarizer.identity == summarizer.identity


def test_limits_hold(prober: Prober, summarizer: LanguageSummarizer, room: Path) -> None:
    assert len(build(prober, summarizer, room, exact_words=1, most_words=1, e_decomp=0.0).space.words) == 1
    enough = build(prober, summarizer, room, exact_words=1, e_decomp=1.0)
    assert enough.space.words == ()
    explained = Explainer(prober, summarizer, enough.space).explain_adapter(room / "amy")
    assert (explained.words, explained.residual) == ((), 1.0)


def test_a_summarizer_that_proposes_nothing_is_an_error(
    prober: Prober, summarizer: LanguageSummarizer, room: Path
) -> None:
    with pytest.raises(SpaceError, match="proposed no word for any of 2 pLLMs"):
        build(prober, summarizer, room, least_probability=1.1)


def test_a_built_space_explains_its_own_pool(
    built: BuiltSpace, prober: Prober, summarizer: LanguageSummarizer, room: Path, tmp_path: Path
) -> None:
    save_space(built.space, tmp_path / "space")
    explainer = Explainer(prober, summarizer, load_space(tmp_path / "space"))
    amy, bob = (explainer.explain_adapter(room / name) for name in ("amy", "bob"))
    assert [word.word for word in amy.words] == list(built.space.words)
    assert amy.pairs == len(PROMPTS)
    assert amy.residual < 1
    assert amy.digests == bob.digests
    assert amy.coefficients != bob.coefficients


def test_explanations_are_the_same_bytes_whatever_the_hash_seed(built: BuiltSpace, room: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD_AND_EXPLAIN, str(room)],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for seed in ("0", "1")
    ]
    one, two = (process.communicate(timeout=240)[0] for process in running)
    assert one == two
    told = json.loads(one)
    assert tuple(told["words"]) == built.space.words
    assert told["amy"]["words"]
    assert told["amy"]["words"] != told["person"]["words"]
