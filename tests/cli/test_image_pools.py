"""Pools of image models before anything is painted: which base, which parent, which options change what."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpert.cli.app import main
from xpert.cli.bases import image_base_for
from xpert.cli.image_merging import named_image_models
from xpert.cli.image_pools import PictureOptions, of_pictures, picture_setup
from xpert.cli.image_sources import carded_base, start_reference
from xpert.cli.sources import base_of, refuse_image_pool
from xpert.embedded import EMBEDDED_IMAGE_POOL
from xpert.errors import DataError, SettingsError
from xpert.models.reference import ModelReference
from xpert.pool import open_pool
from xpert.pool.setup import PictureSetup, PoolSetup, write_setup
from xpert.space.basis import Space
from xpert.space.storing import save_space
from xpert.testing.catalogs import sample_explanation
from xpert.testing.tiny_pictures import Studio


@pytest.fixture(autouse=True)
def _no_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XPERT_IMAGE_POOL", raising=False)


@pytest.fixture
def pool(studio: Studio, tmp_path: Path) -> Path:
    """Two models and no space."""
    with open_pool(tmp_path / "pool") as opened:
        for name, lora in zip(("red", "dotted"), studio.loras, strict=False):
            opened.add(lora, base_folder=studio.pipeline, base_name=str(studio.pipeline), name=name)
    return tmp_path / "pool"


@pytest.fixture
def indexed(pool: Path, studio: Studio) -> PoolSetup:
    """The setup that the pool is given."""
    captions = tuple(f"caption {n}" for n in range(5))
    pictures = PictureSetup(captions=captions, vocabulary=("red",), vision="a/vlm", steps=7, resolution=32)
    setup = PoolSetup(
        base=str(studio.pipeline), base_revision="main", summarizer_kind="clip", summarizer=str(studio.clip), seed=3,
        pictures=pictures,
    )  # fmt: skip
    write_setup(pool / "space", setup)  # as an older version did
    return setup


def test_a_pool_whose_first_space_was_killed_between_rows_and_files_is_one_of_image_models(
    pool: Path, indexed: PoolSetup
) -> None:
    """As an older version left it: rows are explained, the files lie beside their place."""
    found = Space((), np.zeros((0, 3)), np.zeros(3), np.zeros((2, 3)), 1.0, "s", "b", "p")
    explanation = sample_explanation()
    digests = explanation.digests.model_copy(update={"space": found.digest})
    shutil.rmtree(pool / "space")
    with open_pool(pool) as opened:
        for record in opened.list():
            opened.catalog.explain(record.name, explanation.model_copy(update={"digests": digests}))
    write_setup(pool / "next" / "space", indexed)
    save_space(found, pool / "next" / "space" / "space.safetensors")
    with open_pool(pool, read_only=True) as opened:
        assert of_pictures(opened) and opened.has_space
        with pytest.raises(SettingsError, match="is a pool of image models"):
            refuse_image_pool(opened)
        assert base_of(opened) == ModelReference(indexed.base, revision="main")


def card(folder: Path, text: str) -> Path:
    (folder / "README.md").write_text(f"---\n{text}\n---\n", "utf-8")
    return folder


def test_the_base_is_that_of_the_card_the_pool_or_the_package(pool: Path, studio: Studio, tmp_path: Path) -> None:
    assert start_reference(None, None, "red", pool).model == str(studio.pipeline)
    assert start_reference(None, None, None, pool).model == str(studio.pipeline)
    assert start_reference("a/base", None, "red", pool).model == "a/base"
    assert start_reference(None, None, None, None).model == "xpert/diffusion"
    mine = Path(shutil.copytree(studio.loras[0], tmp_path / "mine"))
    (mine / "README.md").unlink(missing_ok=True)
    assert start_reference(None, mine, None, pool).model == str(studio.pipeline)
    card(mine, "base_model: some/base-1.5")
    assert carded_base(mine) == "some/base-1.5"
    with pytest.raises(SettingsError, match=r"give --base some/base-1\.5 if you trust it"):
        start_reference(None, mine, None, pool)  # a stranger's card chooses nothing
    card(mine, f"base_model: pipeline\nxpert:\n  base_sha256: {'a' * 64}")
    assert image_base_for(mine, None) is None
    assert start_reference(None, mine, None, pool).model == str(studio.pipeline)
    with pytest.raises(SettingsError, match="holds no LoRA"):
        start_reference(None, tmp_path, None, None)


def test_a_name_of_the_pool_is_never_a_folder_that_happens_to_be_here(
    pool: Path, studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "room"
    (room / "red").mkdir(parents=True)
    monkeypatch.chdir(room)
    kept = pool / "artifacts"
    assert kept in named_image_models(["red=1"], pool, None).parents["red"][0].parents
    shutil.copytree(studio.loras[2], room / "red", dirs_exist_ok=True)
    with pytest.raises(SettingsError, match=r"a folder here, too: write \./red"):
        named_image_models(["red=1"], pool, None)
    monkeypatch.setenv("HOME", str(room))
    for written in ("./red", "~/red"):
        plan = named_image_models([f"{written}=0.5", "dotted=1"], pool, None)
        assert set(plan.parents) == {"red", "dotted"} and plan.parents["red"][0].resolve() == room / "red"
    with pytest.raises(SettingsError, match="are one model"):
        named_image_models(["./red=0.5", f"{room}/red=1"], pool, None)


def test_a_merge_needs_no_space_and_its_card_names_no_owner(
    run: Any, pool: Path, studio: Studio, tmp_path: Path
) -> None:
    room = tmp_path / "owner"
    shutil.copytree(studio.loras[2], room / "red")
    done = run("image", "merge", "red=0.5", f"{room}/red=0.25", "--pool", pool, "--out", tmp_path / "both")
    assert done.code == 0, done.err
    assert f"next: xpert image explain {tmp_path / 'both'} --base {studio.pipeline}" in done.out
    told = (tmp_path / "both" / "README.md").read_text()
    assert str(tmp_path) not in told and str(studio.pipeline.parent) not in told
    assert "| red | 0.5 |" in told and "| red-2 | 0.25 |" in told and f"base_model: {studio.pipeline.name}" in told


@pytest.mark.parametrize("command", [("tune", "no-pictures"), ("merge", "red=1")])
def test_a_taken_out_is_told_before_the_work(
    run: Any, pool: Path, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for out, said in ((pool, "not empty"), (".", "the folder that this runs in"), ("..", "or one around it")):
        done = run("image", *command, "--pool", pool, "--out", out)
        assert done.code == 2 and said in done.err


def test_reindexing_changes_what_is_given_and_keeps_the_rest(pool: Path, indexed: PoolSetup) -> None:
    assert indexed.pictures is not None
    with open_pool(pool) as opened:
        assert of_pictures(opened)
        assert picture_setup(opened, None, PictureOptions()) == indexed
        few = picture_setup(opened, None, PictureOptions(num_sample=2, vision="none", steps=9))
        changed = {"captions": indexed.pictures.captions[:2], "vision": None, "steps": 9}
        assert few == indexed.model_copy(update={"pictures": indexed.pictures.model_copy(update=changed)})
        assert picture_setup(opened, "another/base", PictureOptions()).base_revision is None
        with pytest.raises(DataError, match="paints 5 captions, 6 are wanted"):
            picture_setup(opened, None, PictureOptions(num_sample=6))


def test_options_of_the_other_kind_of_pool_are_refused(run: Any, pool: Path, world: Any, tmp_path: Path) -> None:
    done = run("pool", "reindex", "--pool", pool, "--summarizer", "x")
    assert done.code == 2 and "--summarizer is for pools of language models" in done.err
    done = run("pool", "reindex", "--pool", pool)
    assert done.code == 2 and "--base PIPELINE and --clip MODEL" in done.err
    texts = Path(shutil.copytree(world.pool, tmp_path / "texts"))
    done = run("pool", "reindex", "--pool", texts, "--clip", "x", "--num-sample", "3")
    assert done.code == 2 and "--clip and --num-sample is for pools of image models" in done.err


def test_an_empty_pool_is_of_what_its_base_is(studio: Studio, tmp_path: Path) -> None:
    with open_pool(tmp_path / "new") as opened:
        assert of_pictures(opened, str(studio.pipeline)) and of_pictures(opened, "xpert/diffusion")
        assert not of_pictures(opened) and not of_pictures(opened, "xpert/base")


def test_a_base_with_few_captions_is_asked_those(studio: Studio, tmp_path: Path) -> None:
    from xpert.cli.image_explained import _usual_number

    (tmp_path / "captions.txt").write_text("a circle\na star\n")
    assert _usual_number(str(tmp_path), None) == _usual_number("a/base", str(tmp_path / "captions.txt")) == 2
    assert _usual_number("a/base", None) == _usual_number("a/base", "a/dataset") == 50


def test_where_no_word_is_proposed_for_pictures_the_way_out_is_one_for_pictures() -> None:
    from xpert.building import _no_words

    assert "--vision" in _no_words(2, of_texts=False) and "--encoder" not in _no_words(2, of_texts=False)
    assert "--encoder packaged" in _no_words(2, of_texts=True)


def test_a_model_of_pictures_is_told_as_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with open_pool(EMBEDDED_IMAGE_POOL, read_only=True) as pool:
        name = pool.list()[0].name
    page = tmp_path / "page.html"
    assert main(["explain", name, "--pool", str(EMBEDDED_IMAGE_POOL), "--html", str(page)]) == 0
    shown = capsys.readouterr().out
    assert "pairs of pictures" in shown and "texts" not in shown
    assert "these pictures" in page.read_text("utf-8") and "these texts" not in page.read_text("utf-8")
