"""The way of a person: export, check, train, ask, adopt; each with --json."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xpert.cli.app import main
from xpert.runtime.manifest import read_manifest


def told(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> Any:
    """The JSON document that a command prints."""
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_from_a_base_to_an_adopted_adapter(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, data = tmp_path / "export", tmp_path / "data.jsonl"
    rows = [{"prompt": f"What is {i}?", "response": "nice " * (i % 4 + 1)} for i in range(12)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = told(capsys, "export", "--base", base, "--rank", 2, "--alpha", 4, "--max-length-tokens", 128, "-o", folder)
    assert (done["manifest"]["adapter"]["rank"], done["manifest"]["length_tokens"]) == (2, 128)
    assert told(capsys, "phone", "check", folder, "--threads", 1)["golden_difference"] <= 1e-5
    options = ["--max-steps", 4, "--evaluate-every", 2, "--threads", 1, "--max-length-tokens", 64]
    run = told(capsys, "phone", "train", folder, data, "-o", tmp_path / "mine", *options)
    assert run["steps"] == 4 and run["best_loss"] < run["initial_loss"]
    asked = ["--adapter", tmp_path / "mine", "--max-new-tokens", 4, "--threads", 1]
    assert isinstance(told(capsys, "phone", "ask", folder, "Hello?", *asked)["answer"], str)
    assert main(["phone", "ask", str(folder), "Hello\udcff?"]) == 3  # a byte that is no UTF-8, as Python gives it
    assert "half a character" in capsys.readouterr().err
    weights = tmp_path / "mine" / "adapter_model.safetensors"
    assert told(capsys, "phone", "adopt", folder, weights, "-o", tmp_path / "again")
    assert (tmp_path / "again" / weights.name).read_bytes() == weights.read_bytes()
    assert read_manifest(folder).base.sha256 in (tmp_path / "again" / "README.md").read_text()


def test_what_people_read(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phone", "check", str(exported), "--threads", "1"]) == 0
    shown = capsys.readouterr().out
    assert "right: losses within" in shown and "rank 4, alpha 16" in shown
    assert main(["phone", "check", str(exported / "adapter")]) == 4
    assert "give a folder that `xpert export` wrote" in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from xpert.cli.app import main; "
        "assert main(['export', '--help']) == main(['phone', 'train', '--help']) == 0; "
        "heavy = {'torch', 'transformers', 'onnx', 'onnxruntime', 'tokenizers', 'numpy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Threads of onnx" in done.stdout
