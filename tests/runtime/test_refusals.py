"""What does not fit is named before training starts, with the way out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from xpert.errors import DamagedModelError, MismatchError, MissingModelError, SettingsError
from xpert.records import Sample
from xpert.runtime import adopt, read_manifest, train_exported
from xpert.runtime.manifest import FORMAT
from xpert.testing.tiny import tiny_adapter, tiny_base
from xpert.tuning import TuningSettings

SAMPLES = [Sample("a", "b c d"), Sample("e", "f g h")]


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def changed(folder: Path, change: Callable[[Any], None]) -> None:
    """Rewrite the manifest of a folder, without its seal as one of before there were seals."""
    told = json.loads((folder / "manifest.json").read_text())
    told.pop("seal", None)
    change(told)
    (folder / "manifest.json").write_text(json.dumps(told))


def run(folder: Path, out: Path, **given: Any) -> object:
    """A short run."""
    settings = TuningSettings(max_steps=1, **given.pop("settings", {}))
    return train_exported(folder, SAMPLES, SAMPLES, out, settings, threads=1, **given)


def test_artifacts_of_another_version(copy: Path, tmp_path: Path) -> None:
    changed(copy, lambda told: told.update(format=FORMAT + 1))
    with pytest.raises(MismatchError, match=rf"format {FORMAT + 1} \(written by xpert .*reads format {FORMAT}: export"):
        run(copy, tmp_path / "out")


def test_a_file_that_was_changed_cut_or_is_missing(copy: Path, tmp_path: Path) -> None:
    graph = copy / "train.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-7] + b"changed")
    with pytest.raises(DamagedModelError, match=r"train\.onnx is another file than was written"):
        run(copy, tmp_path / "out")
    graph.write_bytes(whole[:-7])
    with pytest.raises(DamagedModelError, match=rf"has {len(whole) - 7} bytes, {len(whole)} were written"):
        run(copy, tmp_path / "out")
    graph.unlink()
    with pytest.raises(MissingModelError, match=r"lacks train\.onnx: export or download"):
        run(copy, tmp_path / "out")
    with pytest.raises(MissingModelError, match=r"holds no manifest\.json"):
        run(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("name", ["../other", "/etc/passwd", "a\0b", "../\x1b[2Jother"])
def test_a_manifest_that_names_files_outside(copy: Path, name: str) -> None:
    changed(copy, lambda told: told["files"].update({name: {"size_bytes": 1, "sha256": "0"}}))
    with pytest.raises(DamagedModelError, match="lies outside of the folder"):
        read_manifest(copy)


def test_a_wrong_graph_is_named_with_runtime_and_version(copy: Path, tmp_path: Path) -> None:
    golden = json.loads((copy / "golden.json").read_text())
    golden["steps"][1]["loss"] += 0.01
    raw = json.dumps(golden).encode()
    (copy / "golden.json").write_bytes(raw)
    import hashlib

    facts = {"size_bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    changed(copy, lambda told: told["files"].update({"golden.json": facts}))
    with pytest.raises(Exception, match=r"onnxruntime \d.* computes another loss .* training step 2 gave"):
        run(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_an_adapter_of_another_base_or_shape(base: Path, exported: Path, tmp_path: Path) -> None:
    other = tiny_adapter(tiny_base(tmp_path / "other", seed=9), tmp_path / "stranger")
    card = "---\nxpert:\n  base_sha256: " + "a" * 64 + "\n---\n"
    (other / "README.md").write_text(card)
    with pytest.raises(MismatchError, match=r"belongs to base aaaaaaaaaaaa…, .* was exported from"):
        run(exported, tmp_path / "out", adapter=other)
    narrow = tiny_adapter(base, tmp_path / "narrow", rank=2)
    with pytest.raises(MismatchError, match=r"has r 2, .* exported for 4: run `xpert export` with this adapter"):
        run(exported, tmp_path / "out", adapter=narrow)


def test_too_little_memory_and_too_long_samples(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"a step of 8 x \d+ tokens needs about \d+ MiB, 10 MiB are there: use --grad"
    ):
        run(exported, tmp_path / "out", memory_budget_bytes=10 * 2**20)
    with pytest.raises(SettingsError, match=r"10 MiB are there: use a smaller --batch-size"):
        run(exported, tmp_path / "out", memory_budget_bytes=10 * 2**20, settings={"gradient_checkpointing": True})
    long = [Sample("a", "word " * 300)] * 2
    with pytest.raises(SettingsError, match=r"up to 400 tokens, the export reads 256 at most"):
        train_exported(exported, long, long, tmp_path / "out", TuningSettings(max_length_tokens=400))


def test_settings_that_no_graph_follows(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"dropout is 0\.1.*; dtype is bfloat16"):
        run(exported, tmp_path / "out", settings={"dropout": 0.1, "dtype": "bfloat16"})


def test_what_comes_back_from_a_device(exported: Path, tmp_path: Path) -> None:
    manifest, file = read_manifest(exported), tmp_path / "back.safetensors"
    vector = np.arange(manifest.adapter.size, dtype=np.float32)
    save_file({"adapter": vector[:-1]}, file)
    with pytest.raises(MismatchError, match=r"give the export that the device trained with"):
        adopt(exported, file, tmp_path / "out")
    save_file({"lora": vector}, file)
    with pytest.raises(MismatchError, match=r"does not fit: '.*' is missing|none of that name"):
        adopt(exported, file, tmp_path / "out")
    save_file({"adapter": np.full_like(vector, np.nan)}, file)
    with pytest.raises(DamagedModelError, match="not finite"):
        adopt(exported, file, tmp_path / "out")
    file.write_bytes(b"none")
    with pytest.raises(DamagedModelError, match="cannot be read"):
        adopt(exported, file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
