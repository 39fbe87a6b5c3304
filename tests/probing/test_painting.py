"""Both pipelines paint the same captions from the same noise, one in memory at a time, each picture once."""

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from xpert.errors import DamagedModelError, DataError, MismatchError, ModelError, StorageError
from xpert.models import opened
from xpert.models.reference import ModelReference
from xpert.probing.painted import save_picture
from xpert.probing.pictures import PaintSettings, PictureProber, paint, usual_settings
from xpert.testing.tiny_pictures import Studio, tiny_image_lora, tiny_pipeline

CAPTIONS = ("a circle on the sea", "a star on the wall", "a circle on the sea")
SETTINGS = PaintSettings(steps=2, guidance_scale=2.0)


def prober(studio: Studio, folder: Path, **changes: Any) -> PictureProber:
    return PictureProber(ModelReference(str(studio.pipeline)), CAPTIONS, SETTINGS, folder, device="cpu", **changes)


def pixels(files: list[Path]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(file), dtype=int) for file in files])


class Counter:
    """How many pipelines were read, and how many lived at once at most."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read, self.most, alive = 0, 0, []
        real = opened.read_pipeline

        def counted(*args: Any, **kwargs: Any) -> Any:
            gc.collect()
            pipeline = real(*args, **kwargs)
            alive.append(weakref.ref(pipeline.unet))
            self.read += 1
            self.most = max(self.most, sum(reference() is not None for reference in alive))
            return pipeline

        monkeypatch.setattr(opened, "read_pipeline", counted)


def test_one_pipeline_is_in_memory_at_a_time(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(monkeypatch)
    painting = prober(studio, tmp_path)
    painting.adapter_pairs(studio.loras[0])
    painting.adapter_pairs(studio.other)
    assert (counter.read, counter.most) == (3, 1)
    painting.adapter_pairs(studio.loras[0])
    assert counter.read == 3  # every picture is there already


def test_a_lora_that_changes_nothing_paints_the_same_pictures(studio: Studio, tmp_path: Path) -> None:
    silent = tiny_image_lora(studio.pipeline, tmp_path / "silent", scale=0.0)
    pairs = prober(studio, tmp_path / "pictures").adapter_pairs(silent)
    assert [pair.prompt for pair in pairs] == list(CAPTIONS)
    references, responses = pixels([p.reference for p in pairs]), pixels([p.response for p in pairs])
    assert np.abs(references - responses).max() <= 1
    assert np.abs(references[0] - references[2]).max() > 2, "a caption that comes twice has other noise"


def test_an_interrupted_run_goes_on_with_what_is_missing(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pixels(prober(studio, tmp_path / "a").references())
    seen = []

    def stop(stage: str, done: int, total: int) -> None:
        seen.append(done)
        if done == 2:
            raise KeyboardInterrupt

    painting = prober(studio, tmp_path / "b", batch_size=1)
    with pytest.raises(KeyboardInterrupt):
        painting.references(stop)
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "b").rglob("*.png")}
    assert seen == [0, 1, 2] and len(kept) == 2
    again = pixels(painting.references())
    assert np.abs(again - whole).max() <= 1, "neither the batch nor the interruption matters"
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert not list((tmp_path / "b").rglob("*.part"))


def test_null_pairs_differ_by_noise_only(studio: Studio, tmp_path: Path) -> None:
    pairs = prober(studio, tmp_path).null_pairs()
    assert np.abs(pixels([p.reference for p in pairs]) - pixels([p.response for p in pairs])).max() > 2
    assert pairs[0].reference == prober(studio, tmp_path).references()[0]


def test_noise_depends_on_caption_seed_and_draw_alone() -> None:
    alone = SETTINGS.noise_seeds(["b"])[0]
    assert SETTINGS.noise_seeds(["a", "b"])[1] == alone
    assert len({alone, SETTINGS.noise_seeds(["b"], 1)[0], PaintSettings(2, 2.0, seed=1).noise_seeds(["b"])[0]}) == 3
    assert SETTINGS.digest(["a"]) != PaintSettings(3, 2.0).digest(["a"]) != SETTINGS.digest(["b"])


def test_a_model_that_does_not_fit_is_refused_before_anything_is_painted(studio: Studio, tmp_path: Path) -> None:
    wide = tiny_pipeline(tmp_path / "wide", cross_attention=24)
    with pytest.raises(MismatchError):
        prober(studio, tmp_path / "pictures").adapter_pairs(wide)
    assert not (tmp_path / "pictures").exists()


def test_a_whole_pipeline_paints_with_its_own_parts(studio: Studio, tmp_path: Path) -> None:
    whole = pixels([p.response for p in prober(studio, tmp_path).adapter_pairs(studio.other)])
    swapped = pixels([p.response for p in prober(studio, tmp_path).adapter_pairs(studio.other / "unet")])
    assert np.abs(whole - swapped).max() > 2  # its text encoder and VAE are others, too


def test_nothing_to_paint_and_a_full_disk_are_told(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="no captions"):
        PictureProber(ModelReference(str(studio.pipeline)), (), SETTINGS, tmp_path)
    with pytest.raises(DataError, match="no pictures"):
        prober(studio, tmp_path).person_pairs([], [])

    class Full:
        def save(self, file: Path, format: str) -> None:
            file.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="free space"):
        save_picture(Full(), tmp_path / "picture.png")
    assert not list(tmp_path.glob("*picture*"))


def test_pictures_are_byte_for_byte_those_of_plain_diffusers(studio: Studio, tmp_path: Path) -> None:
    files = prober(studio, tmp_path / "ours").references()
    with opened.open_pipeline(ModelReference(str(studio.pipeline)), device="cpu") as loaded:
        plain = loaded.pipeline(
            list(CAPTIONS), num_inference_steps=2, guidance_scale=2.0, height=32, width=32,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in SETTINGS.noise_seeds(CAPTIONS)],
        ).images  # fmt: skip
    for number, (file, picture) in enumerate(zip(files, plain, strict=True)):
        save_picture(picture, tmp_path / f"{number}.png")
        assert file.read_bytes() == (tmp_path / f"{number}.png").read_bytes()


class Painter:
    """Stands in for a pipeline's call: memory for `room` pictures at once, all of one value."""

    def __init__(self, room: int, value: float = 0.5, error: type[RuntimeError] = RuntimeError) -> None:
        self.room, self.value, self.error, self.batches = room, value, error, list[int]()
        self.image_processor = VaeImageProcessor()

    def __call__(self, captions: list[str], **how: Any) -> Any:
        self.batches.append(len(captions))
        if len(captions) > self.room:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")
        return SimpleNamespace(images=np.full((len(captions), 8, 8, 3), self.value, dtype=np.float32))


def painted_by(painter: Painter, folder: Path, count: int = 9) -> list[Path]:
    loaded = opened.LoadedPipeline(painter, torch.device("cpu"), Path("sd"), "0" * 64)
    jobs = [("a sea", number, folder / f"{number}.png") for number in range(count)]
    paint(loaded, jobs, PaintSettings(resolution=8), batch_size=8)
    return [file for _, _, file in jobs]


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError])
def test_where_memory_runs_out_the_batch_is_halved(tmp_path: Path, error: type[RuntimeError]) -> None:
    painter = Painter(3, error=error)
    assert all(file.is_file() for file in painted_by(painter, tmp_path))
    assert painter.batches == [8, 4, 2, 2, 2, 2, 1]
    with pytest.raises(ModelError, match="needs more memory than cpu has.*another device.*or a smaller pipeline"):
        painted_by(Painter(0, error=error), tmp_path / "none")


def test_what_is_no_picture_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not finite for a caption \(5 characters\)"):
        painted_by(Painter(8, value=float("nan")), tmp_path / "pictures")
    assert not list(tmp_path.rglob("*.png"))


def test_numbers_of_another_width_do_not_mix(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = prober(studio, tmp_path).references()
    monkeypatch.setattr("xpert.probing.pictures.choose_dtype", lambda device: torch.bfloat16)
    rounded = prober(studio, tmp_path).references()
    assert not {file.parent for file in exact} & {file.parent for file in rounded}


def test_what_the_base_paints_for_a_person_goes_with_the_prober(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painting, kept = prober(studio, tmp_path), tmp_path
    references = painting.references()
    before = sorted(kept.rglob("*"))
    own = [CAPTIONS[0], "my diary on the wall"]
    pairs = painting.person_pairs(own, references[:2])
    assert sorted(kept.rglob("*")) == before, "nothing of a person stays behind"
    assert pairs[0].reference == references[0], "a caption of the prober's own is painted once"
    secret = pairs[1].reference
    assert secret.is_file() and kept not in secret.parents
    counter = Counter(monkeypatch)
    assert painting.person_pairs(own, references[:2]) == pairs and counter.read == 0
    del painting
    gc.collect()
    assert not secret.parent.exists()


def test_an_interrupted_save_leaves_nothing(tmp_path: Path) -> None:
    class Stopped:
        def save(self, file: Path, format: str) -> None:
            file.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_picture(Stopped(), tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())


def test_a_base_may_say_how_it_is_painted(tmp_path: Path) -> None:
    assert usual_settings(str(tmp_path)) == PaintSettings(50, 7.5)
    (tmp_path / "painting.json").write_text('{"steps": 15, "guidance_scale": 2.5}')
    assert usual_settings(str(tmp_path)) == PaintSettings(15, 2.5)
    for wrong in (
        '{"steps": 15}',
        '{"steps": "15", "guidance_scale": 2.5}',
        '{"steps": 1, "guidance_scale": 1, "x": 0}',
    ):
        (tmp_path / "painting.json").write_text(wrong)
        with pytest.raises(DamagedModelError, match="two numbers, and nothing else"):
            usual_settings(str(tmp_path))
