"""Both summarizers obey one law; the causal LM reads at the right place."""

import json
import shutil
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from xpert.errors import DamagedModelError, ModelError, SettingsError
from xpert.models.loading import load_model
from xpert.models.reference import ModelReference
from xpert.summarizing.calibration import calibrate, mean_cosine
from xpert.summarizing.encoder import EncoderSummarizer, packaged_encoder
from xpert.summarizing.language import LanguageSummarizer
from xpert.summarizing.ranking import ranked_words
from xpert.testing.summarizers import PAIRS, SummarizerContract
from xpert.testing.tiny import tiny_base

WORDS = ("formal", "humorous", "concise")


@lru_cache(maxsize=2)
def language(folder: Path, chat: bool = True) -> LanguageSummarizer:
    tiny_base(folder, chat=chat, extra=WORDS)
    return LanguageSummarizer(load_model(ModelReference(str(folder)), device="cpu"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("summarizer")


class TestLanguage(SummarizerContract):
    @pytest.fixture(autouse=True)
    def _folder(self, folder: Path) -> None:
        self.folder = folder

    def summarizer(self) -> LanguageSummarizer:
        return language(self.folder / "chat")


class TestLanguageWithoutChatTemplate(SummarizerContract):
    @pytest.fixture(autouse=True)
    def _folder(self, folder: Path) -> None:
        self.folder = folder

    def summarizer(self) -> LanguageSummarizer:
        return language(self.folder / "plain", chat=False)


class TestEncoder(SummarizerContract):
    shared = EncoderSummarizer()

    def summarizer(self) -> EncoderSummarizer:
        return self.shared


def test_the_embedding_is_what_feeds_the_output_layer_at_the_next_token(folder: Path) -> None:
    s = language(folder / "chat")
    from xpert.summarizing.instruction import ask_pair

    ids = torch.tensor([s.tokens(ask_pair(PAIRS[0]))])
    logits = s.loaded.model(input_ids=ids).logits[0, -1]
    through = s.loaded.model.get_output_embeddings()(torch.from_numpy(s.embed(PAIRS[:1])).float())[0]
    torch.testing.assert_close(through, logits, rtol=1e-4, atol=1e-4)


def test_padding_in_a_small_batch_changes_nothing(folder: Path) -> None:
    s = language(folder / "chat")
    narrow = LanguageSummarizer(s.loaded, tokens_per_batch=1)
    np.testing.assert_allclose(narrow.embed(PAIRS), s.embed(PAIRS), rtol=1e-3, atol=1e-4)


def test_error_feedback_brings_the_fast_path_nearer_and_changes_no_embedding(folder: Path) -> None:
    s = language(folder / "chat")
    rng = np.random.default_rng(0)
    planted = replace(s, soft=rng.normal(size=(4, s.width)))
    exact = dict(zip(WORDS, planted.word_vectors(WORDS), strict=True))
    before = s.embed(PAIRS).tobytes()
    tuned = calibrate(s, exact, steps=40, held_out=False)
    assert 1 - tuned.cosine_after < 0.5 * (1 - tuned.cosine_before)
    fast = tuned.summarizer.word_vectors(sorted(exact))
    assert mean_cosine(fast, np.stack([exact[w] for w in sorted(exact)])) == pytest.approx(tuned.cosine_after)
    assert tuned.summarizer.embed(PAIRS).tobytes() == before
    assert tuned.summarizer.identity == s.identity
    assert s.soft is None


def test_error_feedback_needs_two_words(folder: Path) -> None:
    with pytest.raises(SettingsError, match="at least 2"):
        calibrate(language(folder / "chat"), {"formal": np.ones(32)})


def test_the_encoder_hears_a_joke() -> None:
    s = EncoderSummarizer(vocabulary=("humorous", "legal", "medical"))
    assert s.propose(PAIRS[1:2])[0].word == "humorous"


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True}),
        ("sentence_bert_config.json", {"max_seq_length": 7}),
        ("modules.json", None),
        ("tokenizer_config.json", {"do_lower_case": False}),
        ("tokenizer.json", {"version": "2.0"}),
    ],
)
def test_an_encoder_that_embeds_otherwise_has_another_identity(
    tmp_path: Path, file: str, changes: dict[str, object] | None
) -> None:
    copy = shutil.copytree(packaged_encoder(), tmp_path / "encoder")
    assert EncoderSummarizer(copy).identity == EncoderSummarizer().identity
    told = json.loads((copy / file).read_text())
    (copy / file).write_text(json.dumps(told[:-1] if changes is None else {**told, **changes}))
    assert EncoderSummarizer(copy).identity != EncoderSummarizer().identity


def test_an_encoder_made_of_code_that_comes_with_it_is_refused(tmp_path: Path) -> None:
    copy = shutil.copytree(packaged_encoder(), tmp_path / "encoder")
    modules = json.loads((copy / "modules.json").read_text())
    (copy / "modules.json").write_text(json.dumps([*modules, {"idx": 9, "name": "9", "path": "", "type": "own.Own"}]))
    with pytest.raises(DamagedModelError, match=r"'own.Own'.*code that comes with a model is not run"):
        EncoderSummarizer(copy).embed(PAIRS)


def test_an_empty_vocabulary_is_refused() -> None:
    with pytest.raises(SettingsError, match="vocabulary is empty"):
        EncoderSummarizer(vocabulary=())


def test_a_state_that_is_not_finite_names_what_every_command_can_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = language(folder / "chat")
    monkeypatch.setattr(LanguageSummarizer, "_last", lambda self, **_: np.full((1, self.width), np.nan))
    with pytest.raises(ModelError, match=r"not finite.*: use another device, such as cpu, or another summarizer"):
        s.embed(PAIRS[:1])


def test_a_word_without_a_direction_is_ranked_and_spoils_no_other() -> None:
    vectors = np.array([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
    found = ranked_words(np.array([2.0, 0.0]), ("near", "empty", "far"), vectors, 3)
    assert [proposal.word for proposal in found] == ["near", "empty", "far"]
    assert sum(proposal.probability for proposal in found) == pytest.approx(1)
    assert len(ranked_words(np.zeros(2), ("near", "far"), vectors[::2], 1)) == 1
