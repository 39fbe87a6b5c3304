"""The benchmark of merging on models of a moment: both sides run, agree, and are reported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "merging_memory.py"


def test_both_sides_are_measured_and_agree(tmp_path: Path) -> None:
    pytest.importorskip("mergekit", reason="mergekit is not installed")
    out, shape = tmp_path / "out.json", ["--width", "64", "--layers", "1", "--vocabulary", "500", "--models", "2"]
    command = [sys.executable, str(BENCHMARK), *shape, "--repeats", "1", "--methods", "task-arithmetic"]
    done = subprocess.run([*command, "--json", str(out)], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["models"] == 2 and found["task-arithmetic"]["share_apart"] == 0
    assert all(found["task-arithmetic"][side]["cpu_s"] > 0 for side in ("ours", "mergekit", "lora"))
    assert [promise["name"] for promise in found["promises"]] == [
        "task-arithmetic: peak memory, ours / mergekit",
        "task-arithmetic: private memory, ours / mergekit",
        "task-arithmetic: private memory in sizes of the largest tensor",
        "task-arithmetic: share of numbers more than 1e-6 apart",
    ]
