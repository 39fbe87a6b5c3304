"""What a run does not take over from its start is said: on the command line, in JSON and in the manifest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from xpert.cli.app import main
from xpert.testing.tiny import tiny_adapter, tiny_base
from xpert.tuning.carrying import device_notes, start_notes

FEW = ("--max-steps", "1", "--evaluate-every", "1", "--validation", "2")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("carrying") / "base")


@pytest.fixture(scope="module")
def plain(base: Path) -> Path:
    return tiny_adapter(base, base.parent / "plain", targets=("q_proj", "v_proj"))


@pytest.fixture
def dropping(plain: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(plain, tmp_path / "dropping"))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "lora_dropout": 0.1}))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"prompt": f"p{n}", "response": f"answer {n}"} for n in range(6)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "data.jsonl"


def told(capsys: pytest.CaptureFixture[str], *line: object) -> tuple[Any, str]:
    capsys.readouterr()
    code = main([str(part) for part in line])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return (json.loads(printed.out) if "--json" in line else printed.out), printed.err


def test_tune_says_that_dropout_is_another(
    capsys: pytest.CaptureFixture[str], base: Path, dropping: Path, data: Path, tmp_path: Path
) -> None:
    line = ("tune", data, "--from", dropping, "--base", base, *FEW)
    assert "LoRA dropout 0.1, this run has 0: give --dropout 0.1" in told(capsys, *line, "--out", tmp_path / "a")[1]
    assert len(told(capsys, *line, "--out", tmp_path / "b", "--json")[0]["notes"]) == 1
    kept = ("--out", tmp_path / "c", "--dropout", "0.1", "--json")
    assert told(capsys, *line, *kept)[0]["notes"] == []
    assert json.loads((tmp_path / "c" / "adapter_config.json").read_text())["lora_dropout"] == 0.1
    given = ("--out", tmp_path / "d", "--rank", "2", "--dropout", "0.1", "--json")
    (note,) = told(capsys, *line, *given)[0]["notes"]
    assert "keeps its own rank" in note


def test_a_device_trains_without_dropout_and_that_is_said(
    capsys: pytest.CaptureFixture[str], base: Path, plain: Path, dropping: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "export"
    line = ("export", "--adapter", dropping, "--base", base, "--max-length-tokens", "64", "--out", out)
    printed, remark = told(capsys, *line)
    assert "LoRA dropout 0.1; exported graphs have none" in remark and "LoRA dropout" not in printed
    assert json.loads((out / "manifest.json").read_text())["adapter"]["dropout_left_out"] == 0.1
    train = ("phone", "train", out, data, *FEW, "--json")
    (note,) = told(capsys, *train, "--out", tmp_path / "a")[0]["notes"]
    assert "goes on without it" in note
    assert told(capsys, *train, "--adapter", plain, "--out", tmp_path / "b")[0]["notes"] == []


def test_what_is_carried_is_not_told(plain: Path, dropping: Path) -> None:
    assert start_notes(plain, 0.0) == device_notes(0.0) == ()
    assert start_notes(dropping, 0.1) == ()
    assert len(start_notes(plain, 0.2)) == 1
