"""Pairs of a person and of models: matched prompts, both sides cut alike, samples drawn by seed."""

import pytest

from xpert.errors import DataError
from xpert.models.generation import CUT, generate
from xpert.models.loading import LoadedModel, load_model
from xpert.models.reference import ModelReference
from xpert.probing.rewriting import InstructRewriter, StyleTurns
from xpert.probing.text import ProbeSettings, answer, draw_samples, pair_person, pair_up, recovered_prompt
from xpert.records import OutputPair, Sample
from xpert.testing.tiny import tiny_base

SETTINGS = ProbeSettings(max_new_tokens=8)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    loaded = load_model(ModelReference(str(tiny_base(tmp_path_factory.mktemp("base")))), device="cpu")
    for parameter in loaded.model.model.layers.parameters():
        parameter.data.mul_(20 if parameter.ndim == 2 else 1)  # random layers hardly speak otherwise
    return loaded


def test_a_person_stands_beside_the_bases_answers_to_the_same_prompts(base: LoadedModel) -> None:
    samples = [Sample("What is rain?", "Wet."), Sample("Why?", "So.")]
    pairs = pair_person(base, samples, SETTINGS)
    wanted = answer(base, ["What is rain?", "Why?"], SETTINGS)
    assert pairs == [OutputPair("What is rain?", wanted[0], "Wet."), OutputPair("Why?", wanted[1], "So.")]


def test_both_sides_are_cut_at_the_same_number_of_tokens(base: LoadedModel) -> None:
    long = "abcdefghijklmnop"
    (pair,) = pair_person(base, [Sample("Why?", long)], SETTINGS)
    assert pair.response == long[:8] + CUT
    assert pair.reference == answer(base, ["Why?"], SETTINGS)[0]
    assert pair.reference.endswith(CUT)
    (whole,) = pair_person(base, [Sample("Why?", long[:8])], SETTINGS)
    assert whole.response == long[:8]


def test_a_text_without_prompt_is_asked_for_by_its_own_first_words(base: LoadedModel) -> None:
    text = " ".join(f"w{i}" for i in range(40))
    (pair,) = pair_person(base, [Sample(None, text)], ProbeSettings(max_new_tokens=200))
    assert pair.prompt == recovered_prompt(text) == " ".join(f"w{i}" for i in range(12))
    assert pair.response == text
    assert pair.reference == answer(base, [pair.prompt], ProbeSettings(max_new_tokens=200))[0]


def test_nobody_can_be_explained_by_nothing(base: LoadedModel) -> None:
    with pytest.raises(DataError, match="at least one text"):
        pair_person(base, [], SETTINGS)


def test_a_seed_offset_is_another_draw_of_the_same_model(base: LoadedModel) -> None:
    prompts = ["Why?", "What is rain?"]
    first = answer(base, prompts, SETTINGS)
    assert answer(base, prompts, SETTINGS) == first
    assert answer(base, prompts, SETTINGS, seed_offset=1) != first
    assert answer(base, prompts, SETTINGS, seed_offset=1) == answer(base, prompts, ProbeSettings(8, seed=1))


def test_answers_and_prompts_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="argument"):
        pair_up(["p", "q"], ["a", "b"], ["c"])


def test_samples_with_prompts_are_preferred_and_drawn_by_seed() -> None:
    samples = [Sample(f"p{i}" if i % 2 else None, str(i)) for i in range(40)]
    drawn = draw_samples(samples, 8, seed=3)
    assert len(drawn) == len(set(drawn)) == 8
    assert all(sample.prompt is not None for sample in drawn)
    assert [int(sample.response) for sample in drawn] == sorted(int(sample.response) for sample in drawn)
    assert draw_samples(samples, 8, seed=3) == drawn
    assert draw_samples(samples, 8, seed=4) != drawn
    assert draw_samples(samples, 500, seed=0) == [sample for sample in samples if sample.prompt is not None]


def test_where_nothing_has_a_prompt_all_may_be_drawn() -> None:
    samples = [Sample(None, str(i)) for i in range(5)]
    assert draw_samples(samples, 9, seed=0) == samples
    assert len(draw_samples(samples, 2, seed=0)) == 2


def test_the_base_restyles_under_a_system_turn(base: LoadedModel) -> None:
    prompts = ["Why?", "What is rain?"]
    pairs = StyleTurns(base, SETTINGS).restyle(prompts, ["a", "b"], "formal")
    assert [(pair.prompt, pair.reference) for pair in pairs] == [("Why?", "a"), ("What is rain?", "b")]
    styled = [pair.response for pair in pairs]
    assert styled == answer(base, prompts, SETTINGS, system="Write in this style: formal.")
    assert styled != answer(base, prompts, SETTINGS)


def test_contrasts_change_one_word_and_keep_the_rest(base: LoadedModel) -> None:
    contrasts = {"expert": [("elementary, concise", "expert, concise"), ("funny", "expert, funny")]}
    turns = StyleTurns(base, SETTINGS, contrasts)
    pairs = turns.restyle(["Why?"], ["a"], "expert")
    assert [pair.reference for pair in pairs] == [
        answer(base, ["Why?"], SETTINGS, system=f"Write in this style: {style}.")[0]
        for style in ("elementary, concise", "funny")
    ]
    assert len({pair.response for pair in pairs}) == 2
    assert turns.restyle(["Why?"], ["a"], "formal")[0].reference == "a"


def test_an_instruct_model_rewrites_each_text(base: LoadedModel) -> None:
    texts = ["Rain is water.", "Bread is flour."]
    pairs = InstructRewriter(base, max_new_tokens=6).restyle(["p", "q"], texts, "formal")
    assert [pair.reference for pair in pairs] == texts
    styled = [pair.response for pair in pairs]
    asked = [
        f"Rewrite the following text in a formal style. Keep what it says; reply with the new text only.\n\n{text}"
        for text in texts
    ]
    assert styled == generate(base, asked, max_new_tokens=6, temperature=0)
