"""`xpert image` as a person uses it: tune, explain, select, merge on a tiny pipeline, offline."""

import json
from pathlib import Path
from typing import Any

import pytest
from diffusers import StableDiffusionPipeline

from xpert.testing.tiny_pictures import Studio, tiny_pictures

CAPTIONS = "a circle on the sea\na star on the wall\na circle on the sky\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("image-commands")


@pytest.fixture(autouse=True)
def _cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XPERT_CACHE", str(place / "cache"))
    monkeypatch.delenv("XPERT_IMAGE_POOL", raising=False)


@pytest.fixture
def pool(run: Any, studio: Studio, place: Path) -> Path:
    """A pool that the commands themselves made: created, filled, indexed."""
    folder = place / "pool"
    if not folder.exists():
        (place / "captions.txt").write_text(CAPTIONS)
        assert run("pool", "create", folder, "--like", "none").code == 0
        for name, lora in zip(("calm", "loud"), studio.loras, strict=False):
            done = run("pool", "add", lora, "--name", name, "--pool", folder, "--base", studio.pipeline)
            assert done.code == 0, done.err
        done = run(
            "pool", "reindex", "--pool", folder, "--base", studio.pipeline, "--clip", studio.clip, "--captions",
            place / "captions.txt", "--steps", 2, "--guidance", 2, "--json",
        )  # fmt: skip
        assert done.code == 0, done.err + done.out
        assert [record["name"] for record in done.document["records"]] == ["calm", "loud"]
    return folder


def test_tune_writes_what_diffusers_opens_and_explain_reads(run: Any, studio: Studio, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    done = run(
        "image", "tune", studio.pictures, "--out", out, "--base", studio.pipeline, "--max-steps", 2, "--batch-size", 2,
        "--rank", 2, "--center-crop", "--learning-rate", "0.01", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err + done.out
    assert done.document["steps"] == 2 and done.document["settings"]["rank"] == 2
    pipeline = StableDiffusionPipeline.from_pretrained(studio.pipeline, safety_checker=None)
    pipeline.load_lora_weights(str(out))
    page = tmp_path / "mine.html"
    done = run(
        "image", "explain", out, "--base", studio.pipeline, "--encoder", studio.clip, "--num-sample", 2, "--html", page,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "2 pairs of pictures" in done.out
    html = page.read_text()
    assert html.count("data:image/png;base64,") == 4 and "a woman walks a dog along the beach" in html


def test_explain_tells_models_names_and_people_apart(run: Any, pool: Path, studio: Studio) -> None:
    for target, kind in ((studio.loras[2], "model"), ("calm", "pool"), (studio.pictures, "person")):
        done = run("image", "explain", target, "--pool", pool, "--json")
        assert done.code == 0, done.err + done.out
        assert (done.document["kind"], done.document["explanation"]["pairs"]) == (kind, 6 if kind == "person" else 3)


def test_a_model_of_the_pool_is_explained_already(
    run: Any, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "calm.html"
    assert run("image", "explain", "calm", "--pool", pool, "--html", page).code == 0
    assert f"xpert image explain calm --pool {pool} --html {page}" in page.read_text()

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a model was opened")

    monkeypatch.setattr("xpert.opening.open_picture_explainer", fail)
    told = run("image", "explain", "calm", "--pool", pool, "--json").document["explanation"]
    assert told == run("pool", "show", "calm", "--pool", pool, "--json").document["explanation"]
    assert "3 pairs of pictures" in run("pool", "show", "calm", "--pool", pool).out


def test_a_pool_of_the_environment_may_be_written_with_a_tilde(
    run: Any, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(pool.parent))
    monkeypatch.setenv("XPERT_IMAGE_POOL", f"~/{pool.name}")
    assert run("image", "explain", "calm").code == 0


def test_select_and_merge_for_a_person(run: Any, pool: Path, studio: Studio, tmp_path: Path) -> None:
    page = tmp_path / "select.html"
    done = run("image", "select", studio.pictures, "--pool", pool, "--html", page)
    assert done.code == 0, done.err
    assert "start from" in done.out and "Your pictures" in page.read_text()
    assert f"xpert image select {studio.pictures} --pool {pool} --html {page}" in page.read_text()
    done = run("image", "select", studio.pictures, "--pool", pool, "--json")
    assert {ranked["name"] for ranked in done.document["ranking"]} == {"calm", "loud"}
    assert set(done.document["merge"]["weights"]) <= {"calm", "loud"}
    done = run("image", "merge", "calm=0.5", "loud=0.25", "--pool", pool, "--out", tmp_path / "merged", "--json")
    assert done.code == 0, done.err + done.out
    assert (done.document["kind"], done.document["rank"]) == ("image-lora", 5)
    assert run("image", "explain", tmp_path / "merged", "--pool", pool).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("merge", "calm", "--out", "x"), 2, "write NAME=WEIGHT"),
        (("merge", "--out", "x"), 2, "one of the two"),
        (("merge", "nobody=1", "--out", "x"), 6, "no pLLM named 'nobody'"),
        (("explain", "nobody"), 6, "no pLLM named 'nobody'"),
        (("explain", "calm", "--encoder", "x"), 2, "give --base too"),
        (("explain", "calm", "--vision", "x"), 2, "--vision would do nothing: calm is a model of the pool"),
        (("explain", "calm", "--num-sample", "3"), 2, "--num-sample would do nothing"),
        (("explain", "somebody/pictures"), 3, "somebody/pictures"),
        (("explain", ".", "--base", "x"), 2, "--pool would do nothing"),
        (("select", "no-such-folder"), 3, "no-such-folder"),
        (("merge", "calm=1", "--most", "2", "--out", "x"), 2, "--most would do nothing"),
        (("merge", "calm=1", "--samples", "2", "--split", "test", "--out", "x"), 2, "--samples and --split would"),
        (("merge", "calm=0.6", "calm=0.5", "--out", "x"), 2, "'calm' is given twice"),
    ],
)
def test_mistakes_are_told_with_the_way_out(
    run: Any,
    pool: Path,
    arguments: tuple[str, ...],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("image", *arguments, "--pool", pool)
    assert (done.code, said in done.err) == (code, True), done.err
    assert not list(tmp_path.iterdir())


def test_pictures_without_captions_stop_at_once(run: Any, pool: Path, tmp_path: Path, studio: Studio) -> None:
    bare = tiny_pictures(tmp_path / "bare")
    (bare / "metadata.jsonl").unlink()
    done = run("image", "select", bare, "--pool", pool)
    assert done.code == 3 and "captions" in done.err
    done = run("image", "tune", bare, "--out", tmp_path / "out", "--base", studio.pipeline)
    assert done.code == 3 and not (tmp_path / "out").exists()


def test_the_texts_pool_is_refused(run: Any, world: Any, studio: Studio) -> None:
    done = run("image", "select", studio.pictures, "--pool", world.pool)
    assert done.code == 2 and "pool of language models" in done.err


def test_ctrl_c_while_tuning_leaves_a_run_to_go_on_with(
    run: Any, studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xpert.cli.progress import Progress

    arguments = (
        "image", "tune", studio.pictures, "--out", tmp_path / "mine", "--base", studio.pipeline, "--max-steps", 4,
        "--center-crop", "--json",
    )  # fmt: skip

    def stop(self: Progress, step: Any) -> None:
        if step.step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "step", stop)
        done = run(*arguments)
    assert done.code == 130 and "run the same command again" in json.loads(done.out)["error"]["message"]
    assert not (tmp_path / "mine").exists()
    done = run(*arguments)
    assert done.code == 0 and done.document["steps"] == 4
    assert (tmp_path / "mine" / "pytorch_lora_weights.safetensors").is_file()
