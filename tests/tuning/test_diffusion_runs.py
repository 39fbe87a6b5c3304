"""Runs on pictures: what they leave behind opens plainly and is whole or not there; what was cut off goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file

from xpert.data.pictures import PictureSet, open_pictures
from xpert.errors import DamagedModelError, DataError, MismatchError, MissingModelError, ModelError, SettingsError
from xpert.models.cards import card_facts
from xpert.models.image_adapters import check_image_fit, inspect_image_adapter
from xpert.models.pipelines import pipeline_digest
from xpert.models.reference import ModelReference
from xpert.testing.tiny_pictures import tiny_image_lora, tiny_pictures, tiny_pipeline
from xpert.tuning import DiffusionResult, DiffusionSettings, DiffusionStep, tune_diffusion
from xpert.tuning.picture_batches import PicturePlan

COMMON = {"max_steps": 6, "batch_size": 2, "learning_rate": 1e-2, "rank": 4, "seed": 1, "save_every": 4}
WHOLE = {
    "lora": {"method": "lora", "random_flip": True, "schedule": "linear", "ema": True, "ema_decay": 0.5},
    "full": {"method": "full", "center_crop": True, "accumulation_steps": 2, "batch_size": 1, "snr_gamma": 5.0},
}


def settings_of(method: str = "lora", **values: Any) -> DiffusionSettings:
    return DiffusionSettings(**(COMMON | WHOLE[method] | values))


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import datasets

    room, before = tmp_path_factory.mktemp("runs"), datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = room / "cache"
    yield room
    datasets.config.HF_DATASETS_CACHE = before


@pytest.fixture(scope="module")
def folder(room: Path) -> Path:
    return tiny_pictures(room / "pictures", count=5)


@pytest.fixture(scope="module")
def pictures(folder: Path) -> PictureSet:
    return open_pictures(str(folder))


@pytest.fixture(scope="module")
def base(room: Path) -> ModelReference:
    return ModelReference(str(tiny_pipeline(room / "base")))


@pytest.fixture(scope="module")
def whole(base: ModelReference, pictures: PictureSet, room: Path) -> dict[str, DiffusionResult]:
    return {method: tune_diffusion(base, pictures, room / f"whole-{method}", settings_of(method)) for method in WHOLE}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "mine"


def weights(out: Path) -> dict[str, torch.Tensor]:
    lora = out / "pytorch_lora_weights.safetensors"
    return load_file(lora if lora.is_file() else out / "unet" / "diffusion_pytorch_model.safetensors")


def same(one: DiffusionResult, other: DiffusionResult) -> bool:
    first, second = weights(one.out), weights(other.out)
    return (
        one.train_losses == other.train_losses
        and first.keys() == second.keys()
        and all(torch.equal(first[name], second[name]) for name in first)
    )


def stop_at(step: int, seen: list[int] | None = None) -> Any:
    def on_step(news: DiffusionStep) -> None:
        if seen is not None:
            seen.append(news.step)
        if news.step == step:
            torch.rand(100)
            raise KeyboardInterrupt

    return on_step


def paint(pipeline: Any) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        "a red sea", num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="np"
    ).images
    return np.asarray(images[0])


@pytest.mark.parametrize("method", WHOLE)
@pytest.mark.parametrize("step", [0, 3, 6])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    step: int, method: str, whole: dict[str, DiffusionResult], base: ModelReference, pictures: PictureSet, out: Path
) -> None:
    first: list[int] = []
    then: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        tune_diffusion(base, pictures, out, settings_of(method), on_step=stop_at(step, first))
    assert [path.name for path in out.parent.iterdir()] == ["mine.partial"]
    result = tune_diffusion(base, pictures, out, settings_of(method), on_step=stop_at(-1, then))
    assert first + then == list(range(7)) and same(result, whole[method])
    assert [path.name for path in out.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize("moment", ["forward", "update"])
def test_ctrl_c_within_a_step_leaves_a_whole_step(
    moment: str,
    whole: dict[str, DiffusionResult],
    base: ModelReference,
    pictures: PictureSet,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from diffusers import DDPMScheduler

    owner: Any = DDPMScheduler if moment == "forward" else torch.optim.AdamW
    name = "add_noise" if moment == "forward" else "step"
    real, calls = getattr(owner, name), []

    def press_ctrl_c(*args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return real(*args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            tune_diffusion(base, pictures, out, settings_of(save_every=100))
    assert (out.with_name("mine.partial") / "checkpoint.safetensors").is_file()
    assert same(tune_diffusion(base, pictures, out, settings_of(save_every=100)), whole["lora"])


_KILLED = """
import os, signal, sys
from pathlib import Path
import datasets
from xpert.data.pictures import open_pictures
from xpert.models.reference import ModelReference
from xpert.tuning import DiffusionSettings, tune_diffusion
from xpert.models import folders

base, pictures, out, cache, settings = sys.argv[1:]
datasets.config.HF_DATASETS_CACHE = cache
calls = []


def check(place):
    calls.append(place)
    if calls.count(Path(out)) == 2:  # about to be renamed
        os.kill(os.getpid(), signal.SIGKILL)


folders.check_free = check
chosen = DiffusionSettings.model_validate_json(settings)
tune_diffusion(ModelReference(base), open_pictures(pictures), Path(out), chosen)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_save_that_is_killed_leaves_no_half_folder(
    whole: dict[str, DiffusionResult],
    base: ModelReference,
    folder: Path,
    pictures: PictureSet,
    out: Path,
    tmp_path: Path,
) -> None:
    chosen = settings_of("full").model_dump_json()
    arguments = [sys.executable, "-c", _KILLED, base.model, str(folder), str(out), str(tmp_path / "cache"), chosen]
    assert subprocess.run(arguments, capture_output=True).returncode == -signal.SIGKILL
    assert not out.exists() and (out.with_name("mine.partial") / "checkpoint.safetensors").is_file()
    news: list[int] = []
    result = tune_diffusion(base, pictures, out, settings_of("full"), on_step=lambda step: news.append(step.step))
    assert news in ([], [6]) and same(result, whole["full"])
    (left,) = [path for path in out.parent.iterdir() if "mine" in path.name and path != out]
    assert left.name.startswith(".mine.")  # for an hour it might be another run's


def test_ctrl_c_while_the_outcome_is_written_costs_no_step(
    whole: dict[str, DiffusionResult],
    base: ModelReference,
    pictures: PictureSet,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = shutil.copytree

    def press_ctrl_c(*args: Any, **more: Any) -> None:
        real(*args, **more)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copytree", press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            tune_diffusion(base, pictures, out, settings_of("full"))
    assert [path.name for path in out.parent.iterdir()] == ["mine.partial"]
    assert same(tune_diffusion(base, pictures, out, settings_of("full")), whole["full"])


@pytest.mark.parametrize("what", ["settings", "pictures"])
def test_an_unfinished_run_of_something_else_is_not_gone_on_with(
    what: str, base: ModelReference, folder: Path, pictures: PictureSet, out: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune_diffusion(base, pictures, out, settings_of(), on_step=stop_at(1))
    settings = settings_of(seed=9) if what == "settings" else settings_of()
    other = open_pictures(str(folder), most=4) if what == "pictures" else pictures
    with pytest.raises(SettingsError, match=f"mine.partial is an unfinished run with other {what}: .*fresh=True"):
        tune_diffusion(base, other, out, settings)
    news: list[int] = []
    tune_diffusion(base, other, out, settings, fresh=True, on_step=lambda step: news.append(step.step))
    assert news[0] == 0 and [path.name for path in out.parent.iterdir()] == ["mine"]


def test_latents_in_a_small_cache_change_no_bit(
    whole: dict[str, DiffusionResult], base: ModelReference, pictures: PictureSet, out: Path
) -> None:
    result = tune_diffusion(base, pictures, out, settings_of("full", cache_latents_mib=0))
    assert same(result, whole["full"])


@pytest.mark.parametrize(("center", "kept"), [(True, 5), (False, 2)])
def test_the_vae_sees_a_picture_once_where_its_crop_cannot_move(
    center: bool,
    kept: int,
    base: ModelReference,
    pictures: PictureSet,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, calls = AutoencoderKL.encode, []

    def count(self: Any, values: torch.Tensor, *args: Any, **more: Any) -> Any:
        calls.append(len(values))
        return real(self, values, *args, **more)

    monkeypatch.setattr(AutoencoderKL, "encode", count)
    settings = settings_of("full", center_crop=center)
    told: list[tuple[str, int, int]] = []
    tune_diffusion(base, pictures, out, settings, on_progress=lambda *news: told.append(news))
    # Scaled to 32 pixels, the first two pictures of the five are square: their crops cannot move.
    moving = 0 if center else sum(choice.picture >= 2 for choice in PicturePlan(5, settings).choices())
    assert len(calls) == kept + moving and moving in (0, 7, 8)
    assert ("encoding pictures", kept, kept) in told and told[0][0] == "encoding captions"


def test_a_tuned_pipeline_opens_plainly_and_paints_otherwise(
    whole: dict[str, DiffusionResult], base: ModelReference
) -> None:
    result = whole["full"]
    before = paint(StableDiffusionPipeline.from_pretrained(base.model))
    after = paint(StableDiffusionPipeline.from_pretrained(str(result.out)))
    assert before.shape == after.shape and np.abs(before - after).max() > 0.01
    facts = inspect_image_adapter(result.out)
    check_image_fit(facts, Path(base.model))
    assert facts.kind == "unet" and facts.base_digest == pipeline_digest(Path(base.model))
    assert json.loads((result.out / "unet" / "config.json").read_text()).get("_name_or_path", "") == ""
    assert str(Path(base.model).parent) not in (result.out / "README.md").read_text()


def test_a_lora_opens_plainly_and_paints_otherwise(
    whole: dict[str, DiffusionResult], base: ModelReference, pictures: PictureSet, out: Path
) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(base.model)
    before = paint(pipeline)
    pipeline.load_lora_weights(str(whole["lora"].out))
    after = paint(pipeline)
    assert np.abs(before - after).max() > 0.005
    facts = inspect_image_adapter(whole["lora"].out)
    check_image_fit(facts, Path(base.model))
    assert (facts.kind, facts.rank, facts.scale) == ("image-lora", 4, 1.0)
    assert facts.target_modules == ("to_k", "to_out.0", "to_q", "to_v")
    stronger = tune_diffusion(base, pictures, out, settings_of(max_steps=1, alpha=12, target_modules=("to_q",)))
    facts = inspect_image_adapter(stronger.out)
    assert (facts.scale, facts.target_modules) == (3.0, ("to_q",))


def test_the_card_says_what_was_done(whole: dict[str, DiffusionResult], base: ModelReference) -> None:
    for method, result in whole.items():
        facts = card_facts(result.out / "README.md")
        digest = pipeline_digest(Path(base.model))
        assert facts == {
            "base_sha256": digest, "parents": [], "method": method, "pictures": 5, "steps": 6, "seed": 1,
        }  # fmt: skip
        text = (result.out / "README.md").read_text()
        assert "library_name: diffusers" in text and "a circle" not in text
        call = "load_lora_weights" if method == "lora" else "from_pretrained"
        assert call in text and "| steps | 6 of 2 pictures |" in text


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_xl_pipeline_opens_plainly(method: str, pictures: PictureSet, out: Path, tmp_path: Path) -> None:
    base = tiny_pipeline(tmp_path / "xl", xl=True)
    result = tune_diffusion(ModelReference(str(base)), pictures, out, settings_of(method, max_steps=2, ema=False))
    before = paint(StableDiffusionXLPipeline.from_pretrained(str(base)))
    pipeline = StableDiffusionXLPipeline.from_pretrained(str(out if method == "full" else base))
    if method == "lora":
        pipeline.load_lora_weights(str(out))
    assert np.abs(paint(pipeline) - before).max() > 0.001 and result.steps == 2


def test_a_lora_is_continued_with_its_own_rank_and_layers(
    whole: dict[str, DiffusionResult], base: ModelReference, pictures: PictureSet, out: Path, tmp_path: Path
) -> None:
    lora = tiny_image_lora(Path(base.model), tmp_path / "lora", rank=3)
    reference = ModelReference(base.model, adapter=str(lora))
    settings = settings_of(max_steps=1, learning_rate=1e-9, ema=False)
    result = tune_diffusion(reference, pictures, out, settings)
    started, ended = weights(lora), weights(out)
    assert started.keys() == ended.keys() and inspect_image_adapter(out).rank == 3
    assert all(torch.allclose(started[name], ended[name], atol=1e-6) for name in started)
    assert card_facts(out / "README.md")["parents"] == [inspect_image_adapter(lora).digest]
    fresh = tune_diffusion(base, pictures, tmp_path / "fresh", settings)
    assert result.train_losses != fresh.train_losses


def test_full_starts_from_the_unet_that_an_adapter_makes(
    whole: dict[str, DiffusionResult], base: ModelReference, pictures: PictureSet, tmp_path: Path
) -> None:
    settings = settings_of("full", max_steps=1, learning_rate=1e-9)
    lora = tiny_image_lora(Path(base.model), tmp_path / "lora")
    losses = {}
    for name, adapter in (("lora", str(lora)), ("full", str(whole["full"].out)), ("none", None)):
        reference = ModelReference(base.model, adapter=adapter)
        result = tune_diffusion(reference, pictures, tmp_path / f"from-{name}", settings)
        losses[name] = result.train_losses[0]
    assert len(set(losses.values())) == 3
    ended = weights(tmp_path / "from-full")
    assert all(torch.allclose(tensor, ended[name], atol=1e-6) for name, tensor in weights(whole["full"].out).items())
    pipeline = StableDiffusionPipeline.from_pretrained(base.model)
    pipeline.load_lora_weights(str(lora))
    fused = StableDiffusionPipeline.from_pretrained(str(tmp_path / "from-lora"))
    assert np.allclose(paint(pipeline), paint(fused), atol=1e-3)
    with pytest.raises(SettingsError, match="is a whole U-Net.*use method full"):
        tune_diffusion(
            ModelReference(base.model, adapter=str(whole["full"].out)), pictures, tmp_path / "no", settings_of()
        )


def test_validation_pictures_show_what_the_run_changes(
    whole: dict[str, DiffusionResult], base: ModelReference, pictures: PictureSet, out: Path
) -> None:
    settings = settings_of(validation_prompts=("a red sea", "dark"), validate_every=4)
    painted: list[tuple[str, ...]] = []
    with pytest.raises(KeyboardInterrupt):
        tune_diffusion(base, pictures, out, settings, on_step=stop_at(5))
    result = tune_diffusion(
        base, pictures, out, settings, on_step=lambda step: painted.append(tuple(p.name for p in step.painted))
    )
    assert painted == [("0.png", "1.png")] and same(result, whole["lora"])  # painting changes no weight
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert found == [f"validation/step-00000{step}/{number}.png" for step in (4, 6) for number in (0, 1)]
    files = {path.read_bytes() for path in out.rglob("*.png")}
    assert len(files) == 4
    StableDiffusionPipeline.from_pretrained(base.model).load_lora_weights(str(out))


def test_a_base_whose_safety_checker_was_left_out_gives_a_whole_pipeline(
    base: ModelReference, pictures: PictureSet, out: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(base.model, tmp_path / "without"))
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "requires_safety_checker": True}
    (folder / "model_index.json").write_text(json.dumps(index | {"_name_or_path": "/home/me/secret"}))
    settings = settings_of("full", max_steps=1, validation_prompts=("a sea",))
    tune_diffusion(ModelReference(str(folder)), pictures, out, settings)
    assert StableDiffusionPipeline.from_pretrained(str(out)).safety_checker is None
    assert "secret" not in (out / "model_index.json").read_text() and (out / "validation/step-000001/0.png").is_file()


def test_an_index_that_names_other_folders_copies_nothing(base: ModelReference, tmp_path: Path) -> None:
    from xpert.tuning.diffusion_output import write_pipeline

    folder = Path(shutil.copytree(base.model, tmp_path / "base"))
    (tmp_path / "private").mkdir()
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"../private": ["diffusers", "AutoencoderKL"]}))
    with pytest.raises(DamagedModelError, match="no part that is known"):
        write_pipeline(folder, None, tmp_path / "deep" / "out", None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "private"]


def test_v_prediction_is_told_to_those_who_open_the_pipeline(
    base: ModelReference, pictures: PictureSet, out: Path
) -> None:
    tune_diffusion(base, pictures, out, settings_of("full", max_steps=1, prediction_type="v_prediction"))
    assert StableDiffusionPipeline.from_pretrained(str(out)).scheduler.config.prediction_type == "v_prediction"


def test_a_loss_that_is_not_finite_ends_the_run_and_writes_nothing(
    base: ModelReference, pictures: PictureSet, out: Path
) -> None:
    with pytest.raises(ModelError, match=r"step \d: the loss is .* must be finite: use a lower learning_rate than"):
        tune_diffusion(base, pictures, out, settings_of("full", learning_rate=1e30, max_grad_norm=1e30, max_steps=9))
    assert list(out.parent.iterdir()) == []


def test_what_cannot_be_learned_from_is_told_before_any_work(
    base: ModelReference, folder: Path, pictures: PictureSet, out: Path, tmp_path: Path
) -> None:
    plain = Path(shutil.copytree(folder, tmp_path / "plain"))
    (plain / "metadata.jsonl").unlink()
    with pytest.raises(DataError, match=r"picture 000.png has no caption: give one"):
        tune_diffusion(base, open_pictures(str(plain), need_captions=False), out, settings_of())
    from PIL import Image

    thin = tiny_pictures(tmp_path / "thin", count=1)
    Image.new("RGB", (2, 1_000_000)).save(thin / "000.png")
    with pytest.raises(DataError, match=r"000.png is 2 x 1000000 pixels, too narrow .*: crop it"):
        tune_diffusion(base, open_pictures(str(thin)), out, settings_of(resolution=512))
    with pytest.raises(SettingsError, match="resolution 30 is no multiple of 4, .*: use 28"):
        tune_diffusion(base, pictures, out, settings_of(resolution=30))
    with pytest.raises(SettingsError, match=r"target_modules names 'q_proj'.*it has .*to_q"):
        tune_diffusion(base, pictures, out, settings_of(target_modules=("to_q", "q_proj")))
    with pytest.raises(SettingsError, match=r"does not fit .*name linear or convolution layers"):
        tune_diffusion(base, pictures, out, settings_of(target_modules=("norm1",)))
    with pytest.raises(SettingsError, match="device 'warp' is not available here"):
        tune_diffusion(base, pictures, out, settings_of(), device="warp")
    with pytest.raises(MissingModelError, match="no pipeline folder"):
        tune_diffusion(ModelReference(str(tmp_path / "nothing")), pictures, out, settings_of())
    other = tiny_image_lora(tiny_pipeline(tmp_path / "other", cross_attention=24), tmp_path / "other-lora")
    with pytest.raises(MismatchError, match="does not fit base"):
        tune_diffusion(ModelReference(base.model, adapter=str(other)), pictures, out, settings_of())
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(SettingsError, match="mine exists already and is not empty"):
        tune_diffusion(base, pictures, out, settings_of())
    assert [path.name for path in out.iterdir()] == ["mine.txt"] and not out.with_name("mine.partial").exists()


def test_a_damaged_checkpoint_says_what_to_do(base: ModelReference, pictures: PictureSet, out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune_diffusion(base, pictures, out, settings_of(), on_step=stop_at(1))
    file = out.with_name("mine.partial") / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DamagedModelError, match="fresh=True"):
        tune_diffusion(base, pictures, out, settings_of())


def test_notes_tell_of_captions_that_were_cut_and_pictures_that_were_enlarged(
    base: ModelReference, out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_pictures(tmp_path / "long", count=2, size=20)
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    rows[0]["text"] = "secret sea " * 30
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = tune_diffusion(base, open_pictures(str(folder)), out, settings_of(max_steps=1))
    assert result.notes == (
        "1 captions are longer than the text encoder reads, and were cut",
        "2 pictures are smaller than 32 pixels, and were scaled up",
    )
    assert "secret" not in "".join(capfd.readouterr())


_SHARED = """
import json, os, sys
from pathlib import Path
import datasets
from xpert.data.pictures import open_pictures
from xpert.models.reference import ModelReference
from xpert.tuning import DiffusionSettings, tune_diffusion

base, pictures, out, room, settings = sys.argv[1:]
datasets.config.HF_DATASETS_CACHE = f"{room}/cache{os.environ['RANK']}"
chosen = DiffusionSettings.model_validate_json(settings)
result = tune_diffusion(ModelReference(base), open_pictures(pictures), Path(out), chosen)
Path(room, f"losses-{os.environ['RANK']}.json").write_text(json.dumps(result.train_losses))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs gloo")
def test_processes_share_every_step(
    base: ModelReference, folder: Path, pictures: PictureSet, out: Path, tmp_path: Path
) -> None:
    alone = tune_diffusion(base, pictures, tmp_path / "alone", settings_of(max_steps=3, batch_size=4))
    (tmp_path / "shared.py").write_text(_SHARED)
    chosen = settings_of(max_steps=3, batch_size=1, accumulation_steps=2).model_dump_json()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [str(tmp_path / "shared.py"), base.model, str(folder), str(out), str(tmp_path), chosen]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *arguments], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    losses = [json.loads((tmp_path / f"losses-{rank}.json").read_text()) for rank in (0, 1)]
    assert losses[0] == losses[1] == pytest.approx(alone.train_losses, rel=1e-4)
    shared = weights(out)
    assert all(torch.allclose(tensor, shared[name], atol=1e-3) for name, tensor in weights(alone.out).items())
