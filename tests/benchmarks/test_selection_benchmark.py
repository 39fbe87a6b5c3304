"""The selection benchmark on styles of one's own: two planted styles, tuned, explained and told apart."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest

from xpert.embedded import PEOPLE
from xpert.errors import StorageError
from xpert.records import Sample

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "selection.py"
STYLES = {"0": "mia", "long-words": "viktor", "short-words": "wen"}


def write_styles(folder: Path) -> Path:
    """The sample people as styles: 44 train and 20 test rows each."""
    folder.mkdir()
    for style, name in STYLES.items():
        rows = [json.loads(line) for line in (PEOPLE / f"{name}.jsonl").read_text("utf-8").splitlines()]
        told = [json.dumps({"Context": r["prompt"], "Input": "", "Response": r["response"]}) for r in rows]
        for split, lines in (("train", told[:44]), ("test", told[44:])):
            with gzip.open(folder / f"{style}_{split}.jsonl.gz", "wt", encoding="utf-8") as stream:
                stream.write("\n".join(lines) + "\n")
    return folder


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARK), *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_people_of_planted_styles_find_their_own(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = "--similarities 100 --pools 1 --seeds 1 --jobs 2 --check".split()
    done = run("--styles", write_styles(tmp_path / "styles"), "--json", out, "--cache", tmp_path / "cache", *options)
    assert done.returncode == 0, done.stderr
    told = json.loads(out.read_text())
    assert told["styles"] == ["long-words", "short-words"]
    assert told["accuracy_by_similarity"]["100"]["mean"] == 1.0
    assert set(told["accuracy_by_samples"]) == {"5", "10", "20", "50"}
    assert len(list((tmp_path / "cache" / "pllms").iterdir())) == 2


class PlantedWorkers:
    """Workers that answer at once, and count what they were asked."""

    def __init__(self) -> None:
        self.asked = 0

    def run(self, work):
        for one in work:
            self.asked += 1
            yield "{}" if one.adapter is not None else np.full((len(one.samples), 2), float(self.asked))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_cannot_be_written_whole_is_not_kept(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    selection, workers, space = load("selection"), PlantedWorkers(), SimpleNamespace(digest="d" * 64)
    people = {(style, 0): [Sample("Say it", style)] for style in ("a", "b")}

    def embedded():
        return selection.embedded_people(workers, space, people, tmp_path, "people", lambda *_: None)

    def full(_: int) -> NoReturn:
        raise OSError("no space left on the device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(StorageError, match="no space left"):
            embedded()
        with pytest.raises(StorageError, match="no space left"):
            folders = {selection.Candidate("a", 90, 0): tmp_path / "pllm"}
            selection.explained_candidates(workers, space, folders, tmp_path, lambda *_: None)
    assert files(tmp_path) == []
    workers.asked = 0
    first, again = embedded(), embedded()
    assert workers.asked == 2
    for number, key in enumerate(people, 1):
        assert np.array_equal(first[key], np.full((1, 2), float(number)))
        assert np.array_equal(again[key], first[key])
    assert {path.suffix for path in files(tmp_path)} == {".npy"}


@pytest.mark.parametrize("missing", ["0_train.jsonl.gz", "long-words_test.jsonl.gz"])
def test_a_folder_without_what_it_needs_is_one_clear_line(tmp_path: Path, missing: str) -> None:
    styles = write_styles(tmp_path / "styles")
    (styles / missing).unlink()
    done = run("--styles", styles)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {styles} holds styles")
    assert len(done.stderr.splitlines()) == 1
