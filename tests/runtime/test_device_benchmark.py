"""The benchmark of device training runs, and its sides do the same work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "device_training.py"


def test_sides_take_the_same_steps_and_the_report_is_whole(tmp_path: Path) -> None:
    words = "--sizes small --sides onnx recompute eager node --steps 2 --repeats 1 --batch 2 --length 256".split()
    command = [sys.executable, str(SCRIPT), *words, "--json", str(tmp_path / "figures.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    assert told["small"]["largest_difference_of_losses"] < 1e-4
    assert told["small"]["onnx"]["peak_mib"] < told["small"]["eager"]["peak_mib"]
    assert told["small"]["recompute"]["peak_mib"] < 0.9 * told["small"]["onnx"]["peak_mib"]
    node = told["small"]["node"]
    assert node["cpu_s_per_step"] > 0 if isinstance(node, dict) else node.startswith("node: ")
    assert told["install_mib"]["onnx"] < told["install_mib"]["torch"]
    assert len(told["promises"]) == 3
