"""Whatever a model keeps of what it read, its answers are those of one prompt at a time, without a cache."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from xpert.errors import DamagedModelError, ModelError
from xpert.models import decoding, ways
from xpert.models.chats import render_chat
from xpert.models.generation import CUT, continued, generate
from xpert.models.loading import LoadedModel, load_model
from xpert.models.reference import ModelReference
from xpert.records import OutputPair, Sample
from xpert.summarizing.language import LanguageSummarizer
from xpert.testing.tiny import tiny_base
from xpert.testing.tiny_states import STATES, tiny_state_base
from xpert.tuning.batches import encode
from xpert.tuning.objective import ResponseLoss

PROMPTS = ["Describe the whole of the water cycle, from ocean to cloud.", "Hi", "What is bread?"]
NEW = 30
"""More than a segment."""


def opened(folder: Path) -> LoadedModel:
    return load_model(ModelReference(str(folder)), device="cpu")


def rows_of(loaded: LoadedModel) -> list[list[int]]:
    return [
        loaded.tokenizer(render_chat(loaded.tokenizer, prompt), add_special_tokens=False)["input_ids"]
        for prompt in PROMPTS
    ]


def plain_loop(loaded: LoadedModel, row: Sequence[int], ends: set[int], most: int) -> list[int]:
    """The most probable continuation by transformers' own plainest way."""
    out = loaded.model.generate(
        input_ids=torch.tensor([list(row)]),
        attention_mask=torch.ones(1, len(row), dtype=torch.long),
        max_new_tokens=most,
        do_sample=False,
        use_cache=False,
        eos_token_id=sorted(ends),
    )
    new: list[int] = out[0, len(row) :].tolist()
    return new


@pytest.mark.parametrize("family", sorted(STATES))
def test_answers_are_those_without_a_cache(family: str, tmp_path: Path) -> None:
    loaded = opened(tiny_state_base(tmp_path, family))
    rows, end = rows_of(loaded), loaded.tokenizer.eos_token_id
    # A token that some answers soon have ends them, so that rows leave the batch at different times.
    first = plain_loop(loaded, rows[1], {end}, NEW)
    loaded.model.generation_config.eos_token_id = [end, first[len(first) // 3]]
    ends = {end, first[len(first) // 3]}
    wanted = [plain_loop(loaded, row, ends, NEW) for row in rows]
    assert continued(loaded, rows, NEW) == wanted
    said = generate(loaded, PROMPTS, max_new_tokens=NEW, temperature=0, batch_size=2)
    assert [text.endswith(CUT) for text in said] == [not ends.intersection(ids) for ids in wanted]


def test_a_growing_cache_takes_the_fast_way_and_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = opened(tiny_base(tmp_path, seed=77))
    tried: list[int] = []
    whole = decoding._whole_sequences
    monkeypatch.setattr(decoding, "_whole_sequences", lambda *given: tried.append(1) or whole(*given))
    rows = rows_of(loaded)
    assert continued(loaded, rows, NEW) == [plain_loop(loaded, row, {2}, NEW) for row in rows]
    continued(loaded, rows, 3)
    assert decoding._way(loaded, 100) is ways.in_segments and len(tried) == 1


def test_a_window_that_an_answer_outgrows_is_not_parted_into_segments(tmp_path: Path) -> None:
    loaded = opened(tiny_state_base(tmp_path, "mistral"))
    assert decoding._way(loaded, 7) is ways.in_segments
    assert decoding._way(loaded, 8) is ways.in_one_batch


def test_a_cache_that_loses_rows_wrongly_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = opened(tiny_base(tmp_path, seed=78))
    monkeypatch.setattr("transformers.DynamicCache.batch_select_indices", lambda self, keep: self.crop(1))
    rows = rows_of(loaded)
    assert decoding._way(loaded, 100) is ways.in_one_batch
    assert continued(loaded, rows, NEW) == [plain_loop(loaded, row, {2}, NEW) for row in rows]


@pytest.mark.parametrize("family", ["recurrent_gemma", "rwkv", "gpt2", "mamba", "lfm2", "llama4_text"])
def test_embeddings_do_not_depend_on_their_batch(family: str, tmp_path: Path) -> None:
    summarizer = LanguageSummarizer(opened(tiny_state_base(tmp_path, family)))
    pairs = [OutputPair("q", "one two three", "four " * count) for count in (1, 9, 3, 9)]
    alone = np.concatenate([summarizer.embed([pair]) for pair in pairs])
    assert np.abs(summarizer.embed(pairs) - alone).max() <= 1e-4 * np.abs(alone).max()


def test_a_model_that_sees_what_follows_is_not_tuned(tmp_path: Path) -> None:
    loaded = opened(tiny_state_base(tmp_path, "xlnet"))
    samples = encode(loaded.tokenizer, [Sample("Hi", "What is this all about?"), Sample("", "yes")], 100)
    with pytest.raises(ModelError, match=r"XLNetLMHeadModel looks at the tokens that follow.*causal language model"):
        ResponseLoss(loaded.model, samples, loaded.device)


def test_what_is_not_finite_is_no_answer(tmp_path: Path) -> None:
    folder = tiny_base(tmp_path, seed=79)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": -1e9}))  # a root of less than nothing
    for temperature in (0, 0.8):
        with pytest.raises(ModelError, match=r"computes is not finite.*another model"):
            generate(opened(folder), PROMPTS, max_new_tokens=3, temperature=temperature)


def test_a_model_that_fails_whatever_it_is_asked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = opened(tiny_base(tmp_path, seed=80))

    def fails(*_: object, **__: object) -> object:
        raise RuntimeError("The size of tensor a (4) must match the size of tensor b (8)")

    monkeypatch.setattr(loaded.model.model.layers[0], "forward", fails)
    with pytest.raises(ModelError, match=r"computes nothing \(RuntimeError: .*config\.json is of another model"):
        generate(loaded, PROMPTS, max_new_tokens=3)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_an_encoder_decoder_is_refused(family: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    from xpert.testing.tiny import tiny_tokenizer

    sizes = {"d_model": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8, "d_ff": 16, "encoder_layers": 1,
             "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}  # fmt: skip
    AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(family, vocab_size=300, **sizes)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(DamagedModelError, match=rf"encoder-decoder model \(type '{family}'\).*causal language model"):
        opened(tmp_path)
