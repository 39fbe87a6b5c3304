"""The benchmark of explaining runs, tells what was promised, and says no where a promise is missed."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from xpert.testing.tiny import tiny_adapter, tiny_base


def arguments(json_path: Path | None = None, check: bool = False) -> argparse.Namespace:
    return argparse.Namespace(json=json_path, check=check)


def test_it_measures_all_sides_of_every_stage(load, tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    options = {
        "--base": base,
        "--summarizer": tiny_base(tmp_path / "summarizer", seed=1),
        "--adapter": tiny_adapter(base, tmp_path / "adapter"),
        "--prompts": 4,
        "--repeats": 1,
        "--epochs": 1,
        "--max-new-tokens": 8,
        "--device": "cpu",
        "--json": tmp_path / "figures.json",
    }
    load("explaining").main([str(part) for option in options.items() for part in option])
    told = json.loads((tmp_path / "figures.json").read_text())
    assert {"benchmark", "machine", "promises"} < set(told)
    assert {"cpu", "cores", "threads", "torch", "platform", "device", "date"} <= set(told["machine"])
    results = told
    for stage in ("probing", "embedding", "explaining", "tuning"):
        assert results[stage]["ratio_lowest"] <= results[stage]["ratio"] <= results[stage]["ratio_highest"]
        sides = ("ours", "plain") if stage == "tuning" else ("ours", "plain", "batched")
        assert [key for key in results[stage] if not key.startswith("ratio")] == list(sides)
        for side in sides:
            unit = "response_tokens_per_s" if stage == "tuning" else "pairs_per_s"
            assert results[stage][side][unit] > 0
            assert results[stage][side]["tokens_per_s"] > 0
            assert 0 < results[stage][side]["share_of_matrix_rate"] < 1
    parts = [results[stage]["ours"]["wall_s"] for stage in ("probing", "embedding", "explaining")]
    assert parts[0] + parts[1] == pytest.approx(parts[2])
    assert results["embeddings_apart"] < 1e-3
    assert results["prompts"] == 4
    for stage in ("probing", "embedding", "explaining"):
        batched = [results[stage][f"ratio_batched{end}"] for end in ("_lowest", "", "_highest")]
        assert batched == sorted(batched)
    assert {(promise["name"], promise["at_least"]) for promise in told["promises"]} == {
        ("explaining, pairs/s, ours / plain", 3.0),
        ("explaining, pairs/s, ours / batched", 0.9),
        ("tuning, response tokens/s, ours / plain", 1.0),
    }


def test_both_sides_must_have_done_the_same(load) -> None:
    explaining = load("explaining")
    run = explaining.Run(wall_s=1.0, cpu_s=1.0, items=50, tokens=5000, operations=1e9)
    more = explaining.Run(wall_s=1.0, cpu_s=1.0, items=50, tokens=9000, operations=1e9)

    def found(probing, tuning, apart: float = 0.0):
        return explaining.Found(
            {"probing": {"ours": [run], "plain": [probing]}, "tuning": {"ours": [run], "plain": [tuning]}}, apart
        )

    cpu = torch.device("cpu")
    explaining.refuse_unequal_work(found(run, run), cpu)
    with pytest.raises(RuntimeError, match=r"5000 tokens on our side and 9000 on the plain one"):
        explaining.refuse_unequal_work(found(more, run), cpu)
    with pytest.raises(RuntimeError, match="tuning saw 5000"):
        explaining.refuse_unequal_work(found(run, more), cpu)
    with pytest.raises(RuntimeError, match="embeddings differ"):
        explaining.refuse_unequal_work(found(run, run, apart=2e-3), cpu)


def test_a_missed_promise_is_named_and_ends_the_check(load, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = load("common")
    promises = [
        common.Promise("pairs a second", 4.0, at_least=3.0),
        common.Promise("steps saved", 0.1, at_least=0.83),
        common.Promise("seconds to start", 9.0, at_most=2.0),
        common.Promise("never measured", float("nan"), at_least=0.0),
    ]
    with pytest.raises(SystemExit) as ended:
        common.finish("planted", {"a": {"b": 1.0}}, promises, arguments(tmp_path / "out.json", check=True))
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "steps saved: 0.1, promised at least 0.83" in said
    assert "seconds to start: 9, promised at most 2" in said
    assert "never measured" in said
    assert "pairs a second" not in said
    kept = {promise["name"]: promise["kept"] for promise in json.loads((tmp_path / "out.json").read_text())["promises"]}
    assert kept == {"pairs a second": True, "steps saved": False, "seconds to start": False, "never measured": False}


def test_without_check_and_with_kept_promises_it_ends_well(load, tmp_path: Path, capsys) -> None:
    common = load("common")
    missed, kept = common.Promise("speed", 1.0, at_least=2.0), common.Promise("speed", 2.0, at_least=2.0, at_most=2.0)
    common.finish("planted", {"a": {"b": 1.0}, "words": ["x"]}, [missed], arguments())
    assert "a.b" in capsys.readouterr().out
    (tmp_path / "out.json").write_text("old")
    common.finish("planted", {"a": 1}, [kept], arguments(tmp_path / "out.json", check=True))
    assert json.loads((tmp_path / "out.json").read_text())["a"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_a_report_that_cannot_be_written_leaves_the_old_one(load, tmp_path: Path) -> None:
    common = load("common")
    (tmp_path / "out.json").write_text("old")
    with pytest.raises(TypeError):
        common.finish("planted", {"a": object()}, [], arguments(tmp_path / "out.json"))
    assert (tmp_path / "out.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_a_file_is_seen_whole_or_not_at_all(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = load("common")
    file = tmp_path / "made" / "kept.txt"

    def half() -> None:
        with common.write_whole(file) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert list(file.parent.iterdir()) == []
    with common.write_whole(file) as stream:
        stream.write(b"old")
        assert not file.exists()
    synced = []
    monkeypatch.setattr("os.fsync", lambda _: synced.append(file.read_bytes()))
    with common.write_whole(file) as stream:
        stream.write(b"new")
    assert synced == [b"old", b"new"]  # the bytes are on the disk before the name is
    assert file.read_bytes() == b"new"
    with pytest.raises(KeyboardInterrupt):
        half()
    assert file.read_bytes() == b"new"
    assert [path.name for path in file.parent.iterdir()] == ["kept.txt"]


def test_the_clock_and_the_machines_rate_are_plausible(load) -> None:
    common = load("common")
    cpu = torch.device("cpu")
    with common.Clock(cpu) as clock:
        sum(range(200_000))
    assert clock.cpu_s > 0
    assert 0 < clock.wall_s < 5
    assert 1e8 < common.matrix_rate(cpu, rounds=2, seconds=0.05) < 1e14
