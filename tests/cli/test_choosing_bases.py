"""Nobody but the person chooses a base: no name that a stranger wrote is opened or fetched before they agreed."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from xpert.cli.bases import base_for
from xpert.errors import SettingsError
from xpert.models import known_bases
from xpert.models.image_adapters import LORA_WEIGHTS
from xpert.models.reference import ModelReference, model_digest, public_name, shared_name
from xpert.testing.tiny import tiny_adapter, tiny_base
from xpert.testing.tiny_pictures import Studio

FEW = ("--max-steps", 1, "--evaluate-every", 1, "--validation", 2, "--json")
_CONNECTED: list[str] = []
_WATCHING = [False]


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _WATCHING[0] and event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        _CONNECTED.append(event)


sys.addaudithook(_watch)


@pytest.fixture
def unconnected() -> Iterator[None]:
    """Whatever a test does in the block connects to nothing."""
    _CONNECTED.clear()
    _WATCHING[0] = True
    yield
    _WATCHING[0] = False
    assert _CONNECTED == []


@pytest.fixture(autouse=True)
def own_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XPERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def stranger(world: Any, tmp_path: Path) -> Path:
    return named(Path(shutil.copytree(world.adapters[0], tmp_path / "stranger")), "evil/base")


def named(folder: Path, base: object) -> Path:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": base}))
    return folder


@pytest.mark.parametrize(
    "name", ["evil/base", "gpt2", "a/b/c", "//host/share", "\\\\host\\share", "/net/h/x", "~nobody/x"]
)
@pytest.mark.usefixtures("unconnected")
def test_no_command_asks_for_a_strangers_base(world: Any, run: Any, stranger: Path, tmp_path: Path, name: str) -> None:
    named(stranger, name)
    for line in (
        ("chat", "--adapter", stranger, "-p", "hi", "--json"),
        ("tune", world.data, "--from", stranger, "--out", tmp_path / "out", *FEW),
        ("merge", f"{stranger}=1", "--out", tmp_path / "out", "--json"),
        ("export", "--adapter", stranger, "--out", tmp_path / "out", "--json"),
    ):
        done = run(*line)
        assert done.code == 2, (line, done.err)
        assert f"--base {name} if you trust it" in done.document["error"]["message"], line
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("unconnected")
def test_no_image_command_asks_for_a_strangers_pipeline(studio: Studio, run: Any, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(studio.loras[0], tmp_path / "mine"))
    (mine / "README.md").write_text("---\nbase_model: evil/pipeline\n---\n")
    for line in (
        ("image", "tune", studio.pictures, "--from", mine, "--out", tmp_path / "out", "--json"),
        ("image", "merge", f"{mine}=1", "--out", tmp_path / "out", "--json"),
    ):
        done = run(*line)
        assert done.code == 2 and "--base evil/pipeline if you trust it" in done.document["error"]["message"], done.err


@pytest.mark.usefixtures("unconnected")
def test_a_base_in_the_metadata_of_a_lora_is_not_asked_for(studio: Studio, run: Any, tmp_path: Path) -> None:
    tensors = load_file(studio.loras[0] / LORA_WEIGHTS)
    stated = {"unet.r": 2, "unet.lora_alpha": 2, "unet.base_model_name_or_path": "evil/base", "unet.revision": "main"}
    (tmp_path / "mine").mkdir()
    save_file(tensors, tmp_path / "mine" / LORA_WEIGHTS, {"lora_adapter_metadata": json.dumps(stated)})
    line = ("image", "tune", studio.pictures, "--from", tmp_path / "mine", "--base", studio.pipeline)
    done = run(*line, "--max-steps", 1, "--batch-size", 1, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err


@pytest.mark.usefixtures("unconnected")
def test_a_pool_asks_for_no_strangers_base(run: Any, stranger: Path, tmp_path: Path) -> None:
    assert run("pool", "create", tmp_path / "pool", "--like", "none").code == 0
    done = run("pool", "add", stranger, "--name", "a", "--pool", tmp_path / "pool", "--json")
    assert done.code == 2 and "give --base MODEL" in done.document["error"]["message"]


def test_a_name_is_shown_harmless(stranger: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        base_for(named(stranger, "\x1b[31m\u202eevil\u2069/\x9bbase"), None)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", str(caught.value))


@pytest.mark.parametrize(("answer", "agreed"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_person_at_the_terminal_is_asked(
    stranger: Path, monkeypatch: pytest.MonkeyPatch, answer: str, agreed: bool
) -> None:
    monkeypatch.setattr(
        "sys.stdin", type("Typed", (), {"isatty": lambda self: True, "readline": lambda self: answer})()
    )
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    asked: list[str] = []

    def confirm(text: str, **options: Any) -> bool:
        asked.append(text)
        assert options["default"] is False
        return answer.startswith("y")

    monkeypatch.setattr("typer.confirm", confirm)
    if agreed:
        assert base_for(stranger, None) == ModelReference("evil/base")
    else:
        with pytest.raises(SettingsError, match="give --base"):
            base_for(stranger, None)
    assert len(asked) == 1
    with pytest.raises(SettingsError):
        base_for(stranger, None, ask=False)
    assert len(asked) == 1


def test_what_is_known_needs_no_question(world: Any, stranger: Path, tmp_path: Path) -> None:
    digest = model_digest(world.base)
    assert base_for(stranger, str(world.base)) == ModelReference(str(world.base))
    assert base_for(named(stranger, "xpert/base"), None) == ModelReference("xpert/base")
    assert base_for(named(stranger, str(world.base)), None) == ModelReference(str(world.base))
    assert base_for(named(stranger, str(world.base)), None, world.pool) == ModelReference(str(world.base))
    (stranger / "README.md").write_text(f"---\nxpert:\n  base_sha256: {'a' * 64}\n---\n")
    with pytest.raises(SettingsError, match="only you choose"):
        base_for(stranger, None)  # the folder is there, and it is another base than the card says
    (stranger / "README.md").write_text(f"---\nxpert:\n  base_sha256: {digest}\n---\n")
    named(stranger, "evil/base")
    with pytest.raises(SettingsError):
        base_for(stranger, None)
    known_bases.remember_base(ModelReference(str(world.base)), digest)
    assert base_for(stranger, None) == ModelReference(str(world.base.resolve()))


def test_what_was_used_is_kept_privately_and_checked(world: Any, tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", seed=4)
    digest = model_digest(base)
    known_bases.remember_base(ModelReference(str(base)), digest)
    known_bases.remember_base(ModelReference("some/hub-name", revision="v2"), "b" * 64)
    assert stat.S_IMODE(known_bases.bases_file().stat().st_mode) == 0o600
    assert known_bases.known_base(digest) == ModelReference(str(base))
    assert known_bases.known_base("b" * 64) == ModelReference("some/hub-name", revision="v2")
    tiny_base(base, seed=5)
    assert known_bases.known_base(digest) is None  # the folder holds another model now
    shutil.rmtree(base)
    assert known_bases.known_base(digest) is None
    for damage in ("", "[]", "{", '{"x": 1}', '{"x": [1, 2]}', "\x00"):
        known_bases.bases_file().write_text(damage)
        assert known_bases.known_base("x") is None
    known_bases.bases_file().unlink()
    known_bases.bases_file().mkdir()
    known_bases.remember_base(ModelReference("some/name"), "c" * 64)  # the disk refuses; nothing else is lost


def test_ones_own_adapter_finds_its_base_again_and_tells_no_path(world: Any, run: Any, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    done = run("tune", world.data, "--base", world.base, "--out", out, *FEW)
    assert done.code == 0, done.err
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == world.base.name
    assert run("chat", "--adapter", out, "--max-new-tokens", 2, "-p", "hi", "--json").code == 0
    again = run("tune", world.data, "--from", out, "--out", tmp_path / "again", *FEW)
    merged = run(
        "merge", f"{out}=0.5", f"{world.adapters[1]}=0.5", "--out", tmp_path / "both", "--no-explain", "--json"
    )
    exported = run("export", "--adapter", out, "--max-length-tokens", 16, "--out", tmp_path / "export", "--json")
    personal = run("personalize", world.data, "--pool", world.pool, "--out", tmp_path / "personal", *FEW)
    for each in (again, merged, exported, personal):
        assert each.code == 0, each.err
    for folder in (out, tmp_path / "again", tmp_path / "both", tmp_path / "export", tmp_path / "personal"):
        tells_nothing(folder, [world.base.parent, tmp_path, Path.home(), Path.cwd()])


def test_image_adapters_tell_no_path(studio: Studio, run: Any, tmp_path: Path) -> None:
    few = ("--max-steps", 1, "--batch-size", 1, "--json")
    for method in ("lora", "full"):
        line = ("image", "tune", studio.pictures, "--base", studio.pipeline, "--method", method)
        done = run(*line, "--out", tmp_path / method, *few)
        assert done.code == 0, done.err
    parents = [f"{tmp_path / 'lora'}=0.5", f"{studio.loras[1]}=0.5"]
    done = run("image", "merge", *parents, "--out", tmp_path / "both", "--json")
    assert done.code == 0, done.err
    for folder in (tmp_path / "lora", tmp_path / "full", tmp_path / "both"):
        tells_nothing(folder, [studio.pipeline.parent, tmp_path, Path.home()])


def tells_nothing(folder: Path, places: list[Path]) -> None:
    """No file of a folder holds the path of a place on this machine."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    for file in files:
        raw = file.read_bytes()
        for place in places:
            if len(str(place)) > 5:
                assert str(place).encode() not in raw, (file, place)


def test_names_that_others_may_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "hub" / "models--Qwen--Qwen3-0.6B" / "snapshots" / "c1899de289a04d12100db370d81485cdf75e47ca"
    old = tmp_path / "hub" / "models--gpt2" / "snapshots" / "607a30d783dfa663caf39e06633721c8d4cfcd7e"
    for folder in (snapshot, old, tmp_path / "own base"):
        folder.mkdir(parents=True)
    assert shared_name(str(snapshot)) == "Qwen/Qwen3-0.6B"
    assert shared_name(old) == "gpt2"
    assert shared_name(str(tmp_path / "own base")) == "own base"
    assert shared_name("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    assert shared_name("xpert/base") == "xpert/base"
    assert shared_name("/home/alice/gone") == shared_name("C:\\Users\\alice\\gone") == "gone"
    assert public_name("/home/alice/gone") is public_name("~/gone") is public_name("C:\\alice\\gone") is None
    assert public_name("gpt2") == "gpt2"
    from xpert.embedded import EMBEDDED_MODELS

    assert shared_name(EMBEDDED_MODELS["xpert/base"]) == "xpert/base"


def test_an_adapter_of_another_base_than_the_remembered_one_is_not_put_on_it(run: Any, tmp_path: Path) -> None:
    first, second = tiny_base(tmp_path / "first"), tiny_base(tmp_path / "second", seed=1)
    adapter = tiny_adapter(second, tmp_path / "adapter")
    (adapter / "README.md").write_text(f"---\nxpert:\n  base_sha256: {model_digest(second)}\n---\n")
    known_bases.remember_base(ModelReference(str(first)), model_digest(second))  # as if the file had been tampered with
    shutil.rmtree(second)
    done = run("chat", "--adapter", adapter, "-p", "hi", "--json")
    assert done.code == 2 and os.fspath(first) not in done.out
