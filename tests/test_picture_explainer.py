"""The image part explains: planted words come back, whatever the hash seed; faults of the public script stay out."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xpert.building import build_space, explain_alone
from xpert.errors import DataError, SettingsError, SpaceError
from xpert.explaining import explain, explain_embeddings
from xpert.models.reference import ModelReference
from xpert.opening import open_explainer, open_picture_explainer, rebuild
from xpert.pool import open_pool
from xpert.pool.setup import PictureSetup, PoolSetup
from xpert.probing.pictures import PaintSettings, PictureProber
from xpert.records import Picture, PicturePair
from xpert.selecting import select
from xpert.space.basis import Space
from xpert.summarizing.clip import ClipSummarizer
from xpert.testing.tiny_pictures import Studio

CAPTIONS = tuple(f"a {shape} on the {place}" for shape in ("circle", "star") for place in ("sea", "sky", "wall"))
WORDS = ("red", "striped", "dark")


def clip(studio: Studio, **changes: object) -> ClipSummarizer:
    return ClipSummarizer(str(studio.clip), CAPTIONS, WORDS, device="cpu", **changes)  # type: ignore[arg-type]


def prober(studio: Studio, folder: Path) -> PictureProber:
    return PictureProber(ModelReference(str(studio.pipeline)), CAPTIONS, PaintSettings(2, 2.0), folder, device="cpu")


def space_of(summarizer: ClipSummarizer, words: tuple[str, ...] = WORDS) -> Space:
    space = Space((), np.zeros((0, 16)), np.zeros(16), np.zeros((4, 16)), 1.0, summarizer.identity, "base", "prompts")
    for word, vector in zip(words, summarizer.word_vectors(words), strict=True):
        space = space.with_word(word, vector)
    return space


def test_a_planted_mixture_of_word_vectors_comes_back(studio: Studio) -> None:
    """The public script divided by |e| and multiplied by e: its residual was 1.29 where 0 is right."""
    space = space_of(clip(studio))
    mixture = 0.8 * space.vectors[0] + 0.3 * space.vectors[2]
    found = explain_embeddings(np.tile(mixture, (5, 1)), space, prompts="p")
    assert found.coefficients == pytest.approx((0.8, 0.0, 0.3), abs=1e-5)
    assert found.residual == pytest.approx(0.0, abs=1e-5)


def test_coefficients_are_means_so_twice_the_captions_give_the_same(studio: Studio) -> None:
    files = sorted(studio.pictures.glob("*.png"))
    pairs = [PicturePair("", files[0], files[n]) for n in (1, 2, 3)]
    summarizer = clip(studio)
    space = space_of(summarizer)
    once, twice = (explain(p, summarizer, space, prompts="p").coefficients for p in (pairs, pairs * 2))
    assert twice == pytest.approx(once, abs=1e-9) and max(once) > 0


def test_a_word_opposite_to_another_hides_no_overlap(studio: Studio) -> None:
    """Signed cosines were summed: with an opposite and an equal chosen before, their sum of 0 let a copy pass."""
    from xpert.space.decomposition import overlap

    a = np.array([1.0, 0.0, 0.0])
    assert overlap(a, np.stack([-a, a])) == pytest.approx(1.0)


def test_thresholds_filter_and_stop(studio: Studio, tmp_path: Path) -> None:
    def words(**thresholds: float) -> int:
        found = explain_alone(prober(studio, tmp_path), clip(studio), studio.loras[2], **thresholds)
        return len(found.words)

    most = words(e_ortho=1.0, e_decomp=0.0)
    assert words(e_ortho=1.0, e_decomp=1.0) == 0
    assert 1 <= words(e_ortho=0.0, e_decomp=0.0) <= most


def test_the_same_twice_under_another_hash_seed(studio: Studio, tmp_path: Path) -> None:
    script = tmp_path / "explain.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from xpert.cli.image_sources import alone_explained\n"
        "base, model, clip, room = sys.argv[1:]\n"
        "e, _ = alone_explained(Path(model), base, encoder=clip, number=4, steps=2, kept_in=Path(room))\n"
        "print(e.model_dump_json())\n"
    )
    printed = []
    for seed in ("1", "2"):
        arguments = [studio.pipeline, studio.loras[0], studio.clip, tmp_path / seed]
        done = subprocess.run(
            [sys.executable, script, *map(str, arguments)],
            env={"PYTHONHASHSEED": seed, "PATH": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.splitlines()[-1])
    assert printed[0] == printed[1]
    assert json.loads(printed[0])["pairs"] == 4


@pytest.fixture(scope="module")
def image_pool(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("image-pool")
    setup = PoolSetup(
        base=str(studio.pipeline), summarizer_kind="clip", summarizer=str(studio.clip), rewriter="base", exact_words=0,
        pictures=PictureSetup(captions=CAPTIONS, vocabulary=WORDS, steps=2, guidance_scale=2.0),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XPERT_CACHE", str(place / "cache"))
        with open_pool(place / "pool") as pool:
            for number, lora in enumerate(studio.loras):
                pool.add(lora, base_folder=studio.pipeline, base_name="tiny", name=f"m{number}")
            pool.add(studio.other, base_folder=studio.pipeline, base_name="tiny", name="whole")
            rebuild(pool, setup, device="cpu")
    return place / "pool"


def test_a_pool_of_loras_and_unets_explains_models_and_people_alike(
    studio: Studio, image_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XPERT_CACHE", str(image_pool.parent / "cache"))
    with open_pool(image_pool, read_only=True) as pool:
        records = {record.name: record for record in pool.list()}
        assert records["whole"].rank == 0 and records["m2"].rank == 4
        assert sorted(p.name for p in pool.adapter_path("whole").iterdir()) == [
            "config.json",
            "diffusion_pytorch_model.safetensors",
        ]
        explainer = open_picture_explainer(image_pool, device="cpu")
        again = explainer.explain_adapter(pool.adapter_path("m1"))
        assert again == records["m1"].explanation
        # A person whose pictures are what a model of the pool paints is sent to that model.
        for name in ("m0", "whole"):
            painted = explainer.prober.adapter_pairs(pool.adapter_path(name))
            person = [Picture(pair.prompt, pair.response) for pair in painted]
            selection = select(explainer.explain_pictures(person), pool.list())
            assert selection.ranking[0].name == name
            assert selection.ranking[0].distance == pytest.approx(0, abs=1e-6)


def test_a_person_without_captions_and_one_who_is_the_base(
    studio: Studio, image_pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XPERT_CACHE", str(image_pool.parent / "cache"))
    explainer = open_picture_explainer(image_pool, device="cpu")
    with pytest.raises(DataError, match="has no caption"):
        explainer.explain_pictures([Picture(None, studio.pictures / "000.png")])
    base = [Picture(c, f) for c, f in zip(CAPTIONS, explainer.prober.references(), strict=True)]
    with open_pool(image_pool, read_only=True) as pool:
        selection = select(explainer.explain_pictures(base), pool.list())
    assert selection.person.coordinates == pytest.approx(
        tuple(explainer.space.coordinates(np.zeros(16))), abs=1e-9
    )  # nothing but the origin sets the base apart from itself
    assert selection.choice is None


def test_an_encoder_of_another_width_is_refused_before_anything_is_painted(
    studio: Studio, image_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from xpert.explainer import PictureExplainer
    from xpert.testing.tiny_pictures import tiny_clip

    monkeypatch.setenv("XPERT_CACHE", str(tmp_path / "empty"))
    explainer = open_picture_explainer(image_pool, device="cpu")
    wide = ClipSummarizer(str(tiny_clip(tmp_path / "wide", projection=24)), CAPTIONS, device="cpu")
    with pytest.raises(SpaceError, match="24 numbers, the space expects 16"):
        PictureExplainer(explainer.prober, wide, explainer.space)
    other = ClipSummarizer(str(studio.clip), CAPTIONS[:2], device="cpu")
    with pytest.raises(SpaceError, match="built with encoder"):
        PictureExplainer(explainer.prober, other, explainer.space)
    with pytest.raises(SpaceError, match="rebuild"):
        PictureExplainer(explainer.prober, explainer.summarizer, replace(explainer.space, summarizer="0" * 64))
    assert not (tmp_path / "empty").exists()


def test_a_pool_of_pictures_is_no_pool_of_texts(image_pool: Path) -> None:
    with pytest.raises(SettingsError, match="pool of image models"):
        open_explainer(image_pool)


def test_a_missing_encoder_is_told_before_hours_of_painting(studio: Studio, tmp_path: Path) -> None:
    from xpert.errors import MissingModelError

    nowhere = ClipSummarizer(str(tmp_path / "nowhere"), CAPTIONS, device="cpu")
    with pytest.raises(MissingModelError):
        build_space(prober(studio, tmp_path / "pictures"), nowhere, {"a": studio.loras[0]})
    assert not (tmp_path / "pictures").exists()


def test_pictures_that_are_kept_are_read_as_they_are(tmp_path: Path) -> None:
    from xpert.data.pictures import open_pictures
    from xpert.device.pictures import picture_files
    from xpert.testing.tiny_pictures import tiny_pictures

    opened = open_pictures(str(tiny_pictures(tmp_path / "mine", count=5)))
    with picture_files(opened, limit=3) as kept:
        assert len(kept) == 3 and all(picture.caption for picture in kept)
        folder = kept[0].file.parent
        sizes = {Image.open(picture.file).size[1] for picture in kept}
    assert sizes == {40} and not folder.exists(), "nothing of a person stays behind"
