"""Pipelines are found, checked before any weight is read, and opened one at a time."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from xpert.errors import DamagedModelError, MismatchError, MissingModelError
from xpert.models.opened import open_pipeline
from xpert.models.pipelines import pipeline_digest, resolve_pipeline
from xpert.models.reference import ModelReference
from xpert.testing.tiny_pictures import Studio, tiny_image_lora, tiny_pipeline


def paint(reference: ModelReference) -> np.ndarray:
    with open_pipeline(reference, device="cpu") as loaded:
        images = loaded.pipeline(
            ["a circle on the sea"],
            num_inference_steps=2,
            guidance_scale=2.0,
            generator=[torch.Generator("cpu").manual_seed(3)],
        ).images
    assert loaded.pipeline is None
    return np.asarray(images[0], dtype=int)


def test_a_pipeline_opens_plain_with_a_lora_and_with_another_unet(studio: Studio) -> None:
    base = str(studio.pipeline)
    plain = paint(ModelReference(base))
    assert plain.shape == (32, 32, 3)
    assert (plain == paint(ModelReference(base))).all()
    for adapter in (studio.loras[0], studio.other, studio.other / "unet"):
        assert np.abs(plain - paint(ModelReference(base, str(adapter)))).max() > 2


def test_the_digest_is_that_of_the_content(studio: Studio, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(studio.pipeline, copy)
    assert pipeline_digest(copy) == pipeline_digest(studio.pipeline) != pipeline_digest(studio.other)
    (copy / "README.md").write_text("a card is no part of it")
    (copy / "safety_checker").mkdir()
    for file in ("safety_checker/model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"):
        (copy / file).write_bytes(b"what other programs fetched")
    assert pipeline_digest(copy) == pipeline_digest(studio.pipeline)
    tokenizer = next(file for file in (copy / "tokenizer").iterdir() if file.name in ("vocab.json", "tokenizer.json"))
    tokenizer.write_text(tokenizer.read_text().replace("circle", "circlf"))
    assert pipeline_digest(copy) != pipeline_digest(studio.pipeline)


def test_an_xl_pipeline_opens(tmp_path: Path) -> None:
    assert paint(ModelReference(str(tiny_pipeline(tmp_path / "xl", xl=True)))).shape == (32, 32, 3)


def _index(folder: Path, **changes: object) -> Path:
    index = json.loads((folder / "model_index.json").read_text())
    for name, value in changes.items():
        index.pop(name, None) if value is None else index.update({name: value})
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_what_cannot_be_used_is_refused_before_weights_are_read(studio: Studio, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(studio.pipeline, tmp_path / name))

    with pytest.raises(DamagedModelError, match="without a U-Net"):
        resolve_pipeline(str(_index(copy("no-unet"), unet=None)))
    with pytest.raises(DamagedModelError, match="FluxPipeline"):
        resolve_pipeline(str(_index(copy("flux"), _class_name="FluxPipeline")))
    with pytest.raises(DamagedModelError, match=r"\['pipeline', 'Mine'\]"):
        resolve_pipeline(str(_index(copy("code"), _class_name=["pipeline", "Mine"])))
    pickled = copy("pickled")
    next((pickled / "vae").glob("*.safetensors")).rename(pickled / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(MissingModelError, match="pickled weights are refused"):
        resolve_pipeline(str(pickled))
    with pytest.raises(MissingModelError, match=r"no model_index\.json"):
        resolve_pipeline(str(studio.clip))
    with pytest.raises(MissingModelError, match="check the path"):
        resolve_pipeline(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("vae", ["evil", "X"], r"vae is \['evil', 'X'\]"),
        ("vae", ["diffusers", "x.y"], "other code is not run"),
        ("vae", "../../private", "vae is ../../private"),
        ("scheduler", ["diffusers"], "scheduler is"),
        ("../../private", ["diffusers", "AutoencoderKL"], r"names '\.\./\.\./private'"),
        ("_private", ["diffusers", "AutoencoderKL"], "names '_private'"),
        ("controlnet", [None, None], "names 'controlnet'"),
    ],
)
def test_an_index_that_names_other_parts_or_code_is_refused(
    studio: Studio, tmp_path: Path, part: str, value: object, message: str
) -> None:
    folder = Path(shutil.copytree(studio.pipeline, tmp_path / "copy"))
    with pytest.raises(DamagedModelError, match=message):
        resolve_pipeline(str(_index(folder, **{part: value})))


def test_a_part_with_code_of_its_own_is_refused(studio: Studio, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(studio.pipeline, tmp_path / "copy"))
    file = _index(folder, text_encoder=["transformers", "AutoModel"]) / "text_encoder" / "config.json"
    strange = {**json.loads(file.read_text()), "model_type": "strange", "auto_map": {"AutoModel": "own.Own"}}
    file.write_text(json.dumps(strange))
    with pytest.raises(DamagedModelError, match=r"'strange'.*code that comes with a model is not run"):
        resolve_pipeline(str(folder))


def test_an_index_as_it_is_on_the_hub_passes(studio: Studio, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(studio.pipeline, tmp_path / "copy"))
    checker = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    _index(folder, safety_checker=checker, image_encoder=[None, None], add_watermarker=False, _name_or_path="x")
    assert resolve_pipeline(str(folder)) == folder


def test_half_a_snapshot_is_downloaded_again(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    snapshot = Path(shutil.copytree(studio.pipeline, tmp_path / "snapshot"))

    def give(model: str, local_files_only: bool = False, **_: object) -> str:
        asked.append(local_files_only)
        if not local_files_only:
            shutil.copytree(studio.pipeline, snapshot, dirs_exist_ok=True)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", give)
    assert resolve_pipeline("some/pipeline") == snapshot and asked == [True]
    weights = next((snapshot / "vae").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".fp16.safetensors"))
    assert resolve_pipeline("some/pipeline") == snapshot and asked == [True, True, False]
    shutil.rmtree(snapshot / "tokenizer")
    assert resolve_pipeline("some/pipeline") == snapshot and asked == [True, True, False, True, False]


def test_without_a_hub_a_name_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingModelError, match="HF_HUB_OFFLINE"):
        resolve_pipeline("nobody/no-such-pipeline")


def test_truncated_weights_are_told(studio: Studio, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(studio.pipeline, tmp_path / "cut"))
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    with (
        pytest.raises(DamagedModelError, match="download or save it again"),
        open_pipeline(ModelReference(str(folder)), device="cpu"),
    ):
        raise AssertionError("it opened")


def test_an_adapter_of_another_pipeline_is_refused(studio: Studio, tmp_path: Path) -> None:
    wide = tiny_pipeline(tmp_path / "wide", cross_attention=24)
    lora = tiny_image_lora(wide, tmp_path / "lora", targets=("to_k",))
    with (
        pytest.raises(MismatchError, match=r"to_k.* has shapes|have shapes"),
        open_pipeline(ModelReference(str(studio.pipeline), str(lora)), device="cpu"),
    ):
        raise AssertionError("it opened")
