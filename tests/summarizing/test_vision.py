import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from xpert.errors import DamagedModelError, DataError, MissingModelError, SettingsError
from xpert.records import PicturePair
from xpert.summarizing.vision import VisionModel, read_picture
from xpert.testing.tiny import tiny_base
from xpert.testing.tiny_pictures import tiny_clip, tiny_pictures
from xpert.testing.tiny_vision import STYLE_WORDS, tiny_vision_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vision_model(tmp_path_factory.mktemp("models") / "vision")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[PicturePair]:
    plain = tiny_pictures(tmp_path_factory.mktemp("plain"), colour=(120, 120, 120))
    red = tiny_pictures(tmp_path_factory.mktemp("red"))
    return [PicturePair("a star", file, red / file.name) for file in sorted(plain.glob("*.png"))]


@pytest.fixture(scope="module")
def model(folder: Path) -> VisionModel:
    return VisionModel(folder, device="cpu")


def test_proposes_distinct_words_with_shares_in_order(model: VisionModel, pairs: list[PicturePair]) -> None:
    found = model.propose(pairs)
    words = [proposal.word for proposal in found]
    assert set(words) <= set(STYLE_WORDS)
    assert len(set(words)) == len(words) > 1
    assert sum(proposal.probability for proposal in found) == pytest.approx(1)
    assert found == sorted(found, key=lambda proposal: (-proposal.probability, proposal.word))
    assert model.propose(pairs, limit=2) == found[:2]


def test_gives_the_same_words_again_and_after_closing(folder: Path, pairs: list[PicturePair]) -> None:
    model = VisionModel(folder, device="cpu")
    first = model.propose(pairs)
    assert model.propose(pairs) == first
    model.close()
    model.close()
    assert model.propose(pairs) == first


@pytest.mark.parametrize("seed", ["1", "2"])
def test_gives_the_same_words_whatever_the_hash_seed(
    folder: Path, model: VisionModel, pairs: list[PicturePair], seed: str
) -> None:
    code = (
        "import sys; from pathlib import Path; from xpert.records import PicturePair;"
        "from xpert.summarizing.vision import VisionModel;"
        "pair = PicturePair('a star', Path(sys.argv[2]), Path(sys.argv[3]));"
        "print([(p.word, p.probability) for p in VisionModel(sys.argv[1], device='cpu').propose([pair])])"
    )
    asked = [sys.executable, "-c", code, str(folder), str(pairs[0].reference), str(pairs[0].response)]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(asked, capture_output=True, text=True, env=environment, check=True)
    here = [(proposal.word, proposal.probability) for proposal in model.propose(pairs[:1])]
    assert done.stdout.strip() == str(here)


def test_a_batch_answers_as_one_by_one(folder: Path, model: VisionModel, pairs: list[PicturePair]) -> None:
    assert VisionModel(folder, device="cpu", batch_size=4).propose(pairs) == model.propose(pairs)


def test_the_order_of_the_pictures_matters(model: VisionModel, pairs: list[PicturePair]) -> None:
    swapped = [PicturePair(pair.prompt, pair.response, pair.reference) for pair in pairs]
    assert model.propose(swapped) != model.propose(pairs)


def test_both_pictures_and_the_question_reach_the_model_in_order(
    folder: Path, pairs: list[PicturePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = VisionModel(folder, device="cpu")
    model.propose(pairs[:1])
    assert model._opened is not None
    processor = model._opened[1]
    seen: list[Any] = []
    apply = processor.apply_chat_template
    monkeypatch.setattr(
        processor, "apply_chat_template", lambda chats, **more: seen.append(chats) or apply(chats, **more)
    )
    model.propose(pairs[:1])
    parts = seen[0][0][0]["content"]
    assert [part["type"] for part in parts] == ["image", "image", "text"]
    assert parts[0]["image"].tobytes() == Image.open(pairs[0].reference).convert("RGB").tobytes()
    assert parts[1]["image"].tobytes() == Image.open(pairs[0].response).convert("RGB").tobytes()
    assert "more characteristic of the second image than the first image" in parts[2]["text"]


def test_captions_are_one_line_a_picture(model: VisionModel, pairs: list[PicturePair]) -> None:
    captions = model.caption([pair.response for pair in pairs])
    assert len(captions) == len(pairs)
    assert all(isinstance(caption, str) and caption and "\n" not in caption for caption in captions)
    assert captions == model.caption([pair.response for pair in pairs])
    assert model.caption([]) == []


def test_progress_reaches_the_end(model: VisionModel, pairs: list[PicturePair]) -> None:
    seen: list[tuple[str, int, int]] = []
    model.propose(pairs[:3], on_progress=lambda *step: seen.append(step))
    model.caption([pairs[0].response], on_progress=lambda *step: seen.append(step))
    assert seen == [("proposing", 1, 3), ("proposing", 2, 3), ("proposing", 3, 3), ("captioning", 1, 1)]


def test_identity_follows_the_files_and_the_scale(folder: Path, model: VisionModel, tmp_path: Path) -> None:
    assert len(model.identity) == 64
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert VisionModel(copy).identity == model.identity
    assert VisionModel(copy, most_pixels=100).identity != model.identity
    settings = copy / "preprocessor_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "image_mean": [0.5, 0.5, 0.5]}))
    assert VisionModel(copy).identity != model.identity
    assert VisionModel(tiny_vision_model(tmp_path / "other", seed=1)).identity != model.identity


def test_pictures_are_scaled_down_only(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1000), "red").save(tmp_path / "large.png")
    Image.new("RGB", (5, 7), "red").save(tmp_path / "small.png")
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    width, height = read_picture(tmp_path / "large.png", 448 * 448).size
    assert 0.98 * 448 * 448 < width * height <= 448 * 448
    assert width / height == pytest.approx(3, rel=0.01)
    assert read_picture(tmp_path / "small.png", 448 * 448).size == (5, 7)
    assert read_picture(tmp_path / "clear.png", 100).getpixel((0, 0)) == (255, 255, 255)


def test_a_missing_model_is_refused_at_once(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(MissingModelError, match="check the path, or give a Hugging Face name"):
        VisionModel(tmp_path / "nothing")
    with pytest.raises(MissingModelError, match="HF_HUB_OFFLINE, or give a folder"):
        VisionModel("nobody/no-such-vision-model")
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(("build", "kind"), [(tiny_base, "llama"), (tiny_clip, "clip")])
def test_a_model_of_another_kind_is_refused_by_its_type(build: Any, kind: str, tmp_path: Path) -> None:
    with pytest.raises(DamagedModelError, match=f"'{kind}', which does not answer about pictures"):
        VisionModel(build(tmp_path / "model"))


def test_an_unknown_type_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "telepath"}')
    with pytest.raises(DamagedModelError, match="telepath"):
        VisionModel(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (lambda f: (f / "model.safetensors").unlink(), MissingModelError, "not complete"),
        (lambda f: os.truncate(f / "model.safetensors", 5000), DamagedModelError, "download it again"),
        (lambda f: (f / "preprocessor_config.json").unlink(), MissingModelError, "not complete"),
        (lambda f: (f / "chat_template.jinja").unlink(), DamagedModelError, "no chat template"),
    ],
)
def test_a_spoilt_folder(
    folder: Path, pairs: list[PicturePair], tmp_path: Path, spoil: Any, error: type[Exception], says: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    spoil(copy)
    with pytest.raises(error, match=says):
        VisionModel(copy, device="cpu").propose(pairs)


def test_no_usable_word_is_no_proposal_as_with_language_models(
    model: VisionModel, pairs: list[PicturePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VisionModel, "_ask", lambda self, asked, most: [("I cannot tell.", True)] * len(asked))
    assert model.propose(pairs) == []


def test_an_answer_that_was_cut_off_loses_its_half_word(
    model: VisionModel, pairs: list[PicturePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VisionModel, "_ask", lambda self, asked, most: [("moody, pain", False)] * len(asked))
    assert [proposal.word for proposal in model.propose(pairs)] == ["moody"]


def test_a_file_that_is_no_picture(model: VisionModel, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    for file in (tmp_path / "notes.png", tmp_path / "missing.png"):
        with pytest.raises(DataError, match=file.name):
            model.caption([file])


def test_a_picture_that_the_processor_refuses(model: VisionModel, tmp_path: Path) -> None:
    Image.new("RGB", (1000, 2), "red").save(tmp_path / "line.png")
    with pytest.raises(DataError, match=r"line\.png"):
        model.caption([tmp_path / "line.png"])


def test_values_that_cannot_be_used(folder: Path, model: VisionModel) -> None:
    with pytest.raises(SettingsError, match="batch_size 0"):
        VisionModel(folder, batch_size=0)
    with pytest.raises(SettingsError, match="most_pixels 0"):
        VisionModel(folder, most_pixels=0)
    with pytest.raises(SettingsError, match="warp"):
        VisionModel(folder, device="warp")
    with pytest.raises(SettingsError, match="no pair"):
        model.propose([])


def test_code_that_comes_with_a_model_is_refused_and_nobody_is_asked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked whether to run code"))
    shutil.copytree(folder, tmp_path / "strange")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "own.Own"}}
    (tmp_path / "strange" / "config.json").write_text(json.dumps(config))
    with pytest.raises(DamagedModelError, match=r"'strange'.*code that comes with a model is not run"):
        VisionModel(tmp_path / "strange", device="cpu")


def test_a_processor_with_code_of_its_own_is_refused_and_nobody_is_asked(
    folder: Path, tmp_path: Path, pairs: list[PicturePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked whether to run code"))
    strange = shutil.copytree(folder, tmp_path / "strange")
    ran = str(strange / "ran")
    (strange / "own.py").write_text(f"open({ran!r}, 'w').close()\nclass Own: ...\n")
    file = next(file for file in strange.glob("*processor_config.json"))
    stated = {**json.loads(file.read_text()), "processor_class": "Own", "auto_map": {"AutoProcessor": "own.Own"}}
    file.write_text(json.dumps(stated))
    with contextlib.suppress(DamagedModelError):
        VisionModel(strange, device="cpu").propose(pairs[:1])
    assert not Path(ran).exists()


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "does not come to an end"),
        ("{{ unheard_of() }}", "'unheard_of' is undefined"),
        ("Hello.", "drops what is asked"),
    ],
)
def test_a_chat_template_that_cannot_be_used_is_told(
    template: str, why: str, folder: Path, pairs: list[PicturePair], tmp_path: Path
) -> None:
    spoilt = Path(shutil.copytree(folder, tmp_path / "model"))
    (spoilt / "chat_template.jinja").write_text(template)
    with pytest.raises(DamagedModelError, match=why):
        VisionModel(spoilt, device="cpu").propose(pairs[:1])


def test_settings_of_the_model_leak_into_no_answer(folder: Path, pairs: list[PicturePair], tmp_path: Path) -> None:
    hostile = Path(shutil.copytree(folder, tmp_path / "model"))
    stated = {"repetition_penalty": 9.0, "min_new_tokens": 50, "no_repeat_ngram_size": 1, "temperature": {}}
    (hostile / "generation_config.json").write_text(json.dumps(stated))
    (hostile / "chat_template.jinja").write_text(
        (hostile / "chat_template.jinja").read_text() + "{% set day = strftime_now('%F') %}"
    )
    assert VisionModel(hostile, device="cpu").propose(pairs) == VisionModel(folder, device="cpu").propose(pairs)


def test_adapter_files_beside_a_model_are_refused(folder: Path, pairs: list[PicturePair], tmp_path: Path) -> None:
    twofold = Path(shutil.copytree(folder, tmp_path / "model"))
    (twofold / "adapter_config.json").write_text("{}")
    with pytest.raises(DamagedModelError, match="holds a base and an adapter"):
        VisionModel(twofold, device="cpu").propose(pairs[:1])
