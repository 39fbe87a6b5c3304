"""A CLIP obeys the summarizers' law; its word vectors are those of the published formula, spaces included."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

from xpert.errors import DamagedModelError, DataError, MissingModelError, SettingsError
from xpert.records import PicturePair
from xpert.summarizing.clip import VOCABULARY, ClipSummarizer
from xpert.summarizing.summarizer import Proposal
from xpert.testing.summarizers import SummarizerContract
from xpert.testing.tiny import tiny_base
from xpert.testing.tiny_pictures import Studio

CAPTIONS = ("a circle on the sea", "a star on the wall")


def pairs_of(studio: Studio) -> list[PicturePair]:
    files = sorted(studio.pictures.glob("*.png"))
    return [PicturePair(f"picture {n}", files[n], files[n + 1]) for n in range(4)]


class TestClip(SummarizerContract):
    @pytest.fixture(autouse=True)
    def _studio(self, studio: Studio) -> None:
        self.clip, self.pairs = studio.clip, pairs_of(studio)

    def summarizer(self) -> ClipSummarizer:
        return ClipSummarizer(str(self.clip), CAPTIONS, device="cpu")


def text_embeddings(clip: Path, texts: list[str]) -> np.ndarray:
    """What transformers alone says of texts, normalised."""
    tokenizer, model = AutoTokenizer.from_pretrained(clip), CLIPModel.from_pretrained(clip)
    with torch.inference_mode():
        rows = model.get_text_features(**tokenizer(texts, padding=True, return_tensors="pt")).pooler_output
    return (rows / rows.norm(dim=-1, keepdim=True)).double().numpy()


def test_a_words_vector_is_the_mean_over_captions_of_styled_less_plain(studio: Studio) -> None:
    found = ClipSummarizer(str(studio.clip), CAPTIONS, device="cpu").word_vectors(["striped"])[0]
    styled = text_embeddings(studio.clip, [f"a striped photo of {c}" for c in CAPTIONS])
    plain = text_embeddings(studio.clip, [f"a photo of {c}" for c in CAPTIONS])
    np.testing.assert_allclose(found, (styled - plain).mean(0), atol=1e-5)
    glued = text_embeddings(studio.clip, [f"astriped photo of {c}" for c in CAPTIONS])
    assert np.abs(found - (glued - plain).mean(0)).max() > 1e-3, "the public script's prompt lacked a space"


def test_a_pairs_embedding_is_second_less_first(studio: Studio) -> None:
    pair = pairs_of(studio)[0]
    model = CLIPModel.from_pretrained(studio.clip)
    processor = CLIPImageProcessorPil.from_pretrained(studio.clip)
    pictures = [Image.open(file).convert("RGB") for file in (pair.reference, pair.response)]
    with torch.inference_mode():
        rows = model.get_image_features(**processor(images=pictures, return_tensors="pt")).pooler_output
    rows = (rows / rows.norm(dim=-1, keepdim=True)).double().numpy()
    summarizer = ClipSummarizer(str(studio.clip), CAPTIONS, device="cpu")
    np.testing.assert_allclose(summarizer.embed([pair])[0], rows[1] - rows[0], atol=1e-5)
    same = PicturePair("", pair.reference, pair.reference)
    assert not summarizer.embed([same]).any()


def test_a_proposer_takes_the_place_of_the_vocabulary(studio: Studio) -> None:
    class Fixed:
        identity = "0" * 64

        def propose(self, pairs: object, *, limit: int = 24, on_progress: object = None) -> list[Proposal]:
            return [Proposal("striped", 1.0)]

        def close(self) -> None:
            return

    own = ClipSummarizer(str(studio.clip), CAPTIONS, ("red", "blue"), device="cpu")
    assert {p.word for p in own.propose(pairs_of(studio))} == {"red", "blue"}
    asked = ClipSummarizer(str(studio.clip), CAPTIONS, None, Fixed(), device="cpu")
    assert [p.word for p in asked.propose(pairs_of(studio))] == ["striped"]
    assert asked.words == VOCABULARY
    assert asked.identity == own.identity, "who proposes words changes no embedding"


def test_the_captions_are_part_of_the_identity(studio: Studio) -> None:
    one, two = (ClipSummarizer(str(studio.clip), captions) for captions in (CAPTIONS, CAPTIONS[:1]))
    assert one.identity != two.identity


def test_a_folders_own_vocabulary_is_used(studio: Studio, tmp_path: Path) -> None:
    from shutil import copytree

    folder = Path(copytree(studio.clip, tmp_path / "clip"))
    (folder / "vocabulary.txt").write_text("striped\ndotted\n")
    assert ClipSummarizer(str(folder), CAPTIONS).words == ("striped", "dotted")


def test_what_cannot_be_read_is_told(studio: Studio, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no captions"):
        ClipSummarizer(str(studio.clip), ())
    with pytest.raises(SettingsError, match="vocabulary is empty"):
        ClipSummarizer(str(studio.clip), CAPTIONS, ())
    with pytest.raises(DamagedModelError, match="'llama' model, a CLIP is needed"):
        assert ClipSummarizer(str(tiny_base(tmp_path / "llama")), CAPTIONS).width
    with pytest.raises(MissingModelError, match="check the path"):
        assert ClipSummarizer(str(tmp_path / "nowhere"), CAPTIONS).width
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png is no picture that can be read"):
        ClipSummarizer(str(studio.clip), CAPTIONS, device="cpu").embed([PicturePair("", broken, broken)])


def test_tokenizer_and_preprocessing_are_part_of_the_identity(studio: Studio, tmp_path: Path) -> None:
    from shutil import copytree

    found = {ClipSummarizer(str(studio.clip), CAPTIONS).identity}
    for name in ("tokenizer.json", "preprocessor_config.json"):
        folder = Path(copytree(studio.clip, tmp_path / name))
        stated = json.loads((folder / name).read_text("utf-8"))
        (folder / name).write_text(json.dumps({**stated, "version": "9", "do_center_crop": False}), "utf-8")
        found.add(ClipSummarizer(str(folder), CAPTIONS).identity)
    assert len(found) == 3


def test_a_clip_that_lacks_files_or_tensors_is_refused(studio: Studio, tmp_path: Path) -> None:
    from shutil import copytree

    folder = Path(copytree(studio.clip, tmp_path / "clip"))
    summarizer = ClipSummarizer(str(folder), CAPTIONS, device="cpu")
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if k != "visual_projection.weight"}, folder / "model.safetensors")
    with pytest.raises(DamagedModelError, match=r"lacks 1 tensors .* 'visual_projection\.weight'"):
        assert summarizer.width
    (folder / "config.json").unlink()
    with pytest.raises(MissingModelError, match="is not complete"):
        assert summarizer.width


@pytest.mark.parametrize("model", ["openai/clip-vit-base-patch32", "somebody/clip"])
def test_a_hub_name_without_safetensors_is_converted_or_refused(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    (tmp_path / "config.json").write_text("{}")

    def resolve(name: str, revision: str | None = None) -> Path:
        return studio.clip if revision == "refs/pr/15" else tmp_path

    monkeypatch.setattr("xpert.summarizing.clip.resolve_folder", resolve)
    if model.startswith("openai/"):
        assert ClipSummarizer(model, CAPTIONS).folder == studio.clip
        return
    with pytest.raises(MissingModelError, match=r"no \.safetensors file .*pickled weights are refused: give a CLIP"):
        assert ClipSummarizer(model, CAPTIONS).folder
