"""The two commands to start with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xpert.cli import doctor


@pytest.fixture
def small_demo(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo over the small world: the same code on a pool that takes a second."""
    import xpert.cli.sources
    import xpert.evaluation.demo

    monkeypatch.setattr(xpert.evaluation.demo, "EMBEDDED_POOL", world.pool)
    monkeypatch.setattr(xpert.cli.sources, "EMBEDDED_POOL", world.pool)
    few = xpert.evaluation.demo.SETTINGS.model_copy(update={"max_steps": 4, "evaluate_every": 2, "batch_size": 2})
    monkeypatch.setattr(xpert.evaluation.demo, "SETTINGS", few)


@pytest.mark.usefixtures("small_demo")
def test_the_demo_tells_its_story_and_writes_its_page(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("demo")
    assert done.code == 0
    for part in ("calm", "loud", "start from", "noise floor", "from scratch", "xpert-report.html"):
        assert part in done.out
    assert "from scratch: step" in done.err
    page = (tmp_path / "xpert-report.html").read_text("utf-8")
    assert "Wen’s texts, in words" in page


@pytest.mark.usefixtures("small_demo")
def test_the_demo_as_json_is_one_document(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("demo", "@wen", "--json", "--no-report")
    assert done.code == 0
    assert done.err == ""
    keys = {"selected", "expected", "steps_from_scratch", "steps_from_selected", "seconds", "target_loss"}
    assert keys <= set(done.document)
    assert done.document["person"] == "wen"
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_reports_and_its_code_follows_the_fault(run: Any) -> None:
    done = run("doctor", "--json")
    report = done.document
    assert {"xpert", "python", "packages", "extras", "torch", "hub", "embedded", "fault"} <= set(report)
    assert done.code == (0 if report["fault"] is None else 1)
    shown = run("doctor")
    assert shown.code == done.code
    assert "hub cache" in shown.out
    assert ("runs" if report["fault"] is None else "cannot run") in shown.out


def test_the_doctor_says_how_to_install_what_is_missing(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor._EXTRAS, "text", ("no_such_library",))
    done = run("doctor")
    assert done.code == 1
    assert "pip install -e '.[text]'" in " ".join(done.out.split())
    assert json.loads(run("doctor", "--json").out)["extras"]["text"] == ["no_such_library"]


def test_the_demo_of_images_has_people_of_its_own(run: Any) -> None:
    done = run("demo", "mia", "--images", "--no-report")
    assert done.code == 2 and "leave out 'mia'" in done.err


def test_the_doctor_knows_all_of_an_extra() -> None:
    assert {"peft", "torch", "transformers", "pyarrow"} <= set(doctor._EXTRAS["image"])
