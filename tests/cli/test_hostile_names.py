"""Names of folders and files that strangers chose do nothing to a terminal, whichever command meets them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]")
NAMES = {
    "ansi": "evil\x1b[31mred\x1b]0;title\x07",
    "c1": "evil\x9b31m\x85red",
    "bidi": "evil\u202egpj.exe\u2066x\u200f",
    "hidden": "ev\u200bil\u2060\ufeff",
    "lines": "evil\nerror: deleted\r\u2028",
    "long": "e" * 240,
}


@pytest.fixture(params=NAMES)
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / NAMES[request.param]


def harmless(done: Any) -> None:
    """What a command printed acts on nothing, and its errors are one line that is not too long."""
    for text in (done.out, done.err):
        assert not ACTING.search(re.sub("\x1b\\[[0-9;]*m", "", text) if "\x1b[" in text else text), text[:400]
        assert "\nerror: deleted" not in text
        assert len(text) < 20_000
    assert "\x1b" not in done.out + done.err  # nothing is coloured where no terminal is
    assert "Traceback" not in done.err


def test_adapters_and_bases(world: Any, run: Any, hostile: Path, tmp_path: Path) -> None:
    shutil.copytree(world.adapters[0], hostile)
    done = run("chat", "--adapter", hostile, "--base", world.base, "--max-new-tokens", 2, "-p", "hi")
    assert done.code == 0, done.err
    harmless(done)
    for line in (
        ("chat", "--adapter", hostile / "no", "-p", "hi"),
        ("chat", "--adapter", hostile, "--base", hostile, "-p", "hi"),
        ("chat", "--adapter", hostile, "--base", hostile / "no", "-p", "hi"),
        ("tune", world.data, "--from", hostile, "--base", world.base, "--out", hostile),
        ("tune", hostile / "no.jsonl", "--out", tmp_path / "o"),
        ("merge", f"{hostile}=x", "--out", tmp_path / "o"),
        ("merge", f"{hostile}=1", "--out", hostile),
        ("pool", "show", hostile.name, "--pool", world.pool),
        ("pool", "add", hostile, "--name", hostile.name, "--pool", world.pool),
        ("pool", "list", "--pool", hostile),
        ("explain", hostile.name, "--pool", world.pool),
        ("convert", hostile, "--out", tmp_path / "o"),
        (f"--{hostile.name}",),
        ("chat", f"--{hostile.name}"),
    ):
        done = run(*line)
        assert done.code not in (0, 1), line
        harmless(done)


def test_results(world: Any, run: Any, hostile: Path) -> None:
    few = ("--base", world.base, "--max-steps", 1, "--evaluate-every", 1, "--validation", 2)
    done = run("tune", world.data, "--out", hostile, *few)
    harmless(done)
    if len(hostile.name) > 200:
        assert done.code == 2 and "shorter" in done.err  # told before the work
        return
    assert done.code == 0, done.err
    as_json = run("chat", "--adapter", hostile, "--base", world.base, "--max-new-tokens", 2, "-p", "hi", "--json")
    harmless(as_json)
    assert json.loads(as_json.out)["adapter"] == str(hostile)


def test_what_stands_in_files(world: Any, run: Any, tmp_path: Path) -> None:
    adapter = Path(shutil.copytree(world.adapters[0], tmp_path / "adapter"))
    config = json.loads((adapter / "adapter_config.json").read_text())
    for name in NAMES.values():
        for changes in ({"base_model_name_or_path": name}, {"r": name}, {"target_modules": [name]}, {name: True}):
            (adapter / "adapter_config.json").write_text(json.dumps({**config, **changes}))
            done = run("chat", "--adapter", adapter, "-p", "hi")
            assert done.code in (2, 4), (changes, done.err)
            harmless(done)
