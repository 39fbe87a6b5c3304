"""Explain, select, tune, personalize and chat on a small world."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from xpert.cli.progress import Progress
from xpert.records import Combination, Explanation, Selection

FEW = ("--max-steps", "3", "--evaluate-every", "1", "--batch-size", "2", "--rank", "2")


def test_explain_tells_targets_apart(world: Any, run: Any) -> None:
    for target, kind in ((world.adapters[2], "adapter"), ("calm", "pool"), (world.data, "person")):
        done = run("explain", target, "--pool", world.pool, "--samples", "4", "--json")
        assert done.code == 0
        assert done.err == ""
        assert done.document["kind"] == kind
        assert Explanation.model_validate(done.document["explanation"]).words[0].word == "formal"
    nowhere = run("explain", "nowhere", "--pool", world.pool)
    assert nowhere.code == 2
    assert "calm, loud" in nowhere.err


@pytest.mark.parametrize("command", ["explain", "select", "tune", "personalize", "merge", "phone train"])
def test_every_command_that_reads_texts_asks_who_the_person_is(command: str, run: Any) -> None:
    assert "--me" in run(*command.split(), "--help").out


def test_one_author_of_a_chat_is_explained(world: Any, run: Any, tmp_path: Path) -> None:
    chat = tmp_path / "chat.txt"
    lines = [
        f"31.12.24, 21:{n:02} - {name}: {text} {n}"
        for n in range(9)
        for name, text in (("Wen", "Tea?"), ("Mia", "Yes"))
    ]
    chat.write_text("\n".join(lines), encoding="utf-8")
    done = run("explain", chat, "--pool", world.pool, "--me", "mia", "--json")
    assert (done.code, done.document["kind"]) == (0, "person")
    unnamed = run("explain", chat, "--pool", world.pool)
    assert unnamed.code != 0
    assert "Wen: 9, Mia: 9" in " ".join(unnamed.err.split())


def test_explain_shows_bars_and_writes_a_page(world: Any, run: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run("explain", "calm", "--pool", world.pool, "--html", page)
    assert done.code == 0
    assert "noise floor" in done.out
    assert str(page) in "".join(done.out.split())
    assert "poetic" in page.read_text("utf-8")


def test_a_sample_person_is_data(world: Any, run: Any) -> None:
    done = run("explain", "@mia", "--pool", world.pool, "--samples", "3", "--json")
    assert done.document["kind"] == "person"
    assert done.document["explanation"]["pairs"] == 3


def test_select_ranks_and_never_fails_for_abstaining(world: Any, run: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run("select", world.data, "--pool", world.pool, "--json", "--html", page)
    assert done.code == 0
    assert done.err == ""
    selection = Selection.model_validate(
        {name: value for name, value in done.document.items() if name not in ("merge", "predicted")}
    )
    assert set(done.document["predicted"]) == {"formal", "poetic"}
    assert {ranked.name for ranked in selection.ranking} == {"calm", "loud"}
    assert "Ranking" in page.read_text("utf-8")
    shown = run("select", world.data, "--pool", world.pool)
    assert shown.code == 0
    assert f"start from {selection.choice or 'the base'}" in shown.out


def test_select_by_named_columns(world: Any, run: Any, tmp_path: Path) -> None:
    data = tmp_path / "odd.csv"
    data.write_text("asked,said\nwhat?,that\nwhere?,there\n", "utf-8")
    done = run("select", data, "--pool", world.pool, "--prompt-column", "asked", "--response-column", "said", "--json")
    assert done.code == 0
    assert done.document["person"]["pairs"] == 2


def test_tune_from_base_then_from_that_adapter(world: Any, run: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    done = run("tune", world.data, "--out", first, "--base", world.base, "--validation", "2", *FEW, "--json")
    assert done.code == 0
    assert done.err == ""
    assert done.document["steps"] == 3
    assert done.document["settings"]["rank"] == 2
    assert (first / "adapter_model.safetensors").is_file()
    done = run("tune", world.data, "-o", second, "--from", first, *FEW)
    assert done.code == 0
    assert "validation loss" in done.err
    assert f"xpert chat --adapter {second}" in "".join(done.out.replace("\n", " "))
    assert run("tune", world.data, "--out", first, "--base", world.base, *FEW).code == 2


def test_tune_from_a_pool_on_a_mix(world: Any, run: Any, tmp_path: Path) -> None:
    done = run(
        *("tune", world.data, "--out", tmp_path / "a", "--from-pool", "calm", "--pool", world.pool),
        *("--similarity", "0.5", "--default-data", "@mia", "--validation-data", "@wen", *FEW, "--json"),
    )
    assert done.code == 0
    assert done.document["start"] == "calm"
    assert done.document["samples_seen"] <= 6


def test_ctrl_c_while_tuning_says_how_to_go_on(
    world: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("tune", world.data, "--out", tmp_path / "a", "--base", world.base, *FEW, "--json")

    def interrupt(self: Progress, step: Any) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "step", interrupt)
        done = run(*line)
    assert done.code == 130
    assert done.err.startswith("interrupted: the finished steps are kept in")
    assert "same command again" in done.document["error"]["message"]
    assert (tmp_path / "a.partial").exists()
    assert run(*line).code == 0
    assert not (tmp_path / "a.partial").exists()


def test_personalize_selects_tunes_and_saves(world: Any, run: Any, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    done = run("personalize", world.data, "--out", out, "--pool", world.pool, "--validation", "2", *FEW, "--json")
    assert done.code == 0
    assert done.err == ""
    told = done.document
    assert told["start"] in (None, "calm", "loud", "merge")
    assert told["losses"][told["start"] or "base"] == min(told["losses"].values())
    assert told["tuning"]["initial_loss"] == pytest.approx(told["losses"][told["start"] or "base"], abs=1e-4)
    assert Selection.model_validate(told["selection"]).ranking
    assert (out / "adapter_config.json").is_file()


def test_personalize_from_a_named_start(world: Any, run: Any, tmp_path: Path) -> None:
    done = run("personalize", world.data, "--out", tmp_path / "b", "--pool", world.pool, "--start", "loud", *FEW)
    assert done.code == 0
    assert "loud" in done.out
    assert "loss on your validation samples" in done.out
    assert run("personalize", world.data, "-o", tmp_path / "c", "--pool", world.pool, "--start", "nobody").code == 6


def test_chat_answers_side_by_side(world: Any, run: Any) -> None:
    line = ("chat", "--from-pool", "calm", "--pool", world.pool, "--max-new-tokens", "5")
    done = run(*line, "-p", "hello", "-p", "and you?", "--json")
    assert done.code == 0
    answers = done.document["answers"]
    assert [answer["prompt"] for answer in answers] == ["hello", "and you?"]
    assert all(answer["base"] != answer["personalized"] for answer in answers)
    shown = run(*line, "-p", "hello")
    assert "base" in shown.out
    assert "calm" in shown.out


def test_the_base_side_of_a_chat_is_the_bare_base(world: Any, run: Any) -> None:
    from xpert.models.generation import generate
    from xpert.models.loading import load_model
    from xpert.models.reference import ModelReference

    done = run(*("chat", "--adapter", world.adapters[0], "--max-new-tokens", "5", "-p", "hi", "--json"))
    assert (
        done.document["answers"][0]["base"]
        == generate(load_model(ModelReference(str(world.base))), ["hi"], max_new_tokens=5)[0]
    )


def test_chat_reads_questions_from_a_pipe(world: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    line = ("chat", "--from-pool", "loud", "--pool", world.pool, "--max-new-tokens", "3", "--json")
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\ntwo\n"))
    assert len(run(*line).document["answers"]) == 2
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert run(*line).code == 2


def test_personalize_tries_a_merge_and_starts_where_the_loss_is_lowest(
    world: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Combination(weights={"calm": 0.3, "loud": -0.4}, distance=0.1, gain=0.2, coordinates=(0.0, 0.0))
    monkeypatch.setattr("xpert.device.personalize.plan_merge", lambda person, pool, *, share: plan)
    line = ("personalize", world.data, "--pool", world.pool, "--validation", "2", *FEW)
    done = run(*line, "--out", tmp_path / "mine", "--json")
    assert done.code == 0, done.err
    told = done.document
    assert {"base", "merge"} <= set(told["losses"])
    assert told["start"] == (None if (best := min(told["losses"], key=told["losses"].get)) == "base" else best)
    assert told["merge"]["weights"] == plan.weights
    assert "nearer than any one: 0.30 calm + -0.40 loud" in run(*line, "--out", tmp_path / "again").out
    forced = run(*line, "--out", tmp_path / "forced", "--start", "loud", "--json").document
    assert (forced["start"], forced["merge"]) == ("loud", None)
