"""Every setting of an answer is ours: what a base's own files say of answering changes no letter of it."""

import json
import shutil
from pathlib import Path

import pytest
from peft import PeftModel

from xpert.errors import DamagedModelError
from xpert.models.generation import generate
from xpert.models.loading import LoadedModel, adapted, load_model
from xpert.models.reference import ModelReference
from xpert.records import OutputPair
from xpert.summarizing.language import LanguageSummarizer
from xpert.testing.tiny import tiny_adapter, tiny_base

PROMPTS = ["Tell me of the sea.", "Hi", "What is bread?"]
HOSTILE: list[dict[str, object]] = [
    {"repetition_penalty": 9.0, "no_repeat_ngram_size": 1, "encoder_repetition_penalty": 3.0},
    {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0, "length_penalty": 5.0, "early_stopping": True},
    {"min_p": 0.9, "typical_p": 0.1, "epsilon_cutoff": 0.5, "eta_cutoff": 0.5, "top_h": 0.1, "temperature": 50.0},
    {"forced_bos_token_id": 9, "forced_eos_token_id": 9, "decoder_start_token_id": 3},
    {"suppress_tokens": list(range(6, 200)), "begin_suppress_tokens": [7, 8], "bad_words_ids": [[10], [11, 12]]},
    {"min_length": 400, "min_new_tokens": 40, "max_length": 3, "max_new_tokens": 1},
    {"cache_implementation": "static", "cache_config": {"backend": "quanto"}, "use_cache": False},
    {"cache_implementation": "quantized", "prefill_chunk_size": 2},
    {"watermarking_config": {"bias": 9.0, "greenlist_ratio": 0.1}, "guidance_scale": 4.0},
    {"max_time": 0.0000001, "stop_strings": ["e", "a"]},
    {"prompt_lookup_num_tokens": 3, "num_assistant_tokens": 5, "assistant_confidence_threshold": 0.1},
    {"penalty_alpha": 0.6, "top_k": 1, "dola_layers": "high", "token_healing": True},
    {"sequence_bias": [[[10], 9.0]], "exponential_decay_length_penalty": [1, 9.0], "renormalize_logits": True},
    {"num_return_sequences": 3, "do_sample": True, "return_dict_in_generate": True, "output_scores": True},
    {"repetition_penalty": "x", "num_beams": [2], "temperature": {}, "top_k": None, "min_length": "many"},
    {"eos_token_id": "</s>", "pad_token_id": 10**9, "bos_token_id": [True, -1], "compile_config": 3},
    {"eos_token_id": [2, 5000, "x", -3, None, True], "pad_token_id": -1, "transformers_version": {}},
    {"custom_generate": "nobody/code", "unheard_of": {"a": [1]}, "_from_model_config": 7},
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_base(tmp_path_factory.mktemp("base"), seed=3)
    (folder / "generation_config.json").unlink()
    return folder


def answers(loaded: LoadedModel) -> tuple[list[str], list[str], list[tuple[str, float]]]:
    proposed = LanguageSummarizer(loaded).propose([OutputPair("q", "one two", "three four")])
    return (
        generate(loaded, PROMPTS, max_new_tokens=12, temperature=0),
        generate(loaded, PROMPTS, max_new_tokens=12, seed=5),
        [(word.word, word.probability) for word in proposed],
    )


def opened(folder: Path) -> LoadedModel:
    return load_model(ModelReference(str(folder)), device="cpu")


@pytest.fixture(scope="module")
def wanted(base: Path) -> tuple[list[str], list[str], list[tuple[str, float]]]:
    return answers(opened(base))


@pytest.mark.parametrize("stated", HOSTILE, ids=lambda stated: next(iter(stated)))
def test_a_bases_settings_change_nothing(stated: dict[str, object], base: Path, wanted: object, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    (folder / "generation_config.json").write_text(json.dumps(stated))
    loaded = opened(folder)
    assert answers(loaded) == wanted
    assert loaded.model.generation_config.eos_token_id == loaded.tokenizer.eos_token_id == 2


@pytest.mark.parametrize(
    "stated",
    [
        {"repetition_penalty": 9.0, "num_beams": 3, "min_length": 50},
        {"repetition_penalty": "x", "temperature": {}, "forced_eos_token_id": "a"},
        {"suppress_tokens": [9, 10], "max_length": 2, "no_repeat_ngram_size": 1},
        {"cache_implementation": "static", "use_cache": False},
        {"return_dict": False, "output_hidden_states": True, "output_attentions": True},
        {"attn_implementation": "flash_attention_2"},
        {"task_specific_params": {"text-generation": {"num_beams": 4}}},
    ],
    ids=lambda stated: next(iter(stated)),
)
def test_nor_do_those_in_its_config(stated: dict[str, object], base: Path, wanted: object, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **stated}))
    assert answers(opened(folder)) == wanted


def test_nor_with_an_adapter_on(base: Path, tmp_path: Path) -> None:
    tiny_adapter(base, tmp_path / "adapter")
    hostile = Path(shutil.copytree(base, tmp_path / "base"))
    (hostile / "generation_config.json").write_text(json.dumps({"repetition_penalty": 9.0, "num_beams": 3}))
    said = []
    for folder in (base, hostile):
        with adapted(opened(folder), tmp_path / "adapter") as personal:
            assert isinstance(personal.model, PeftModel)
            said.append(generate(personal, PROMPTS, max_new_tokens=12))
    assert said[0] == said[1]


def test_several_ends_are_kept(base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 40, 5000, "x"]}))
    assert opened(folder).model.generation_config.eos_token_id == [2, 40]


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_a_damaged_file_of_settings_is_told(content: str, base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    (folder / "generation_config.json").write_text(content)
    with pytest.raises(DamagedModelError, match=r"generation_config\.json"):
        opened(folder)
