"""A model is known by its content: digests see what matters and nothing else."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from xpert.errors import DamagedModelError, MissingModelError
from xpert.models.reference import (
    ModelReference,
    file_digest,
    folder_digest,
    model_digest,
    resolve_folder,
    tokenizer_digest,
)
from xpert.testing.tiny import tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "copy"))


def test_references_are_values() -> None:
    assert {ModelReference("a"), ModelReference("a", None, None)} == {ModelReference("a")}
    assert ModelReference("a", "b") != ModelReference("a", "b", "main")


def test_a_file_is_known_by_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100_000)
    assert file_digest(tmp_path / "f") == hashlib.sha256(b"x" * 100_000).hexdigest()


def test_a_copy_is_the_same_model(base: Path, copy: Path) -> None:
    assert model_digest(copy) == model_digest(base)
    assert tokenizer_digest(copy) == tokenizer_digest(base)
    (copy / "README.md").write_text("anything")
    assert model_digest(copy) == model_digest(base)


def test_one_changed_byte_is_another_model(base: Path, copy: Path) -> None:
    weights = copy / "model.safetensors"
    raw, stat = bytearray(weights.read_bytes()), weights.stat()
    assert model_digest(copy) == model_digest(base)  # remembered from here on
    raw[-1] ^= 1
    weights.write_bytes(raw)
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert model_digest(copy) != model_digest(base)
    assert tokenizer_digest(copy) == tokenizer_digest(base)


def test_names_count_as_much_as_contents(tmp_path: Path) -> None:
    for folder, name in (("one", "a.bin"), ("two", "b.bin")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"same")
    assert folder_digest(tmp_path / "one", ("*.bin",)) != folder_digest(tmp_path / "two", ("*.bin",))


def test_how_a_tokenizer_pads_is_no_part_of_it(base: Path, copy: Path) -> None:
    file = copy / "tokenizer.json"
    saved = json.loads(file.read_text("utf-8"))
    saved["truncation"] = {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Left"}
    file.write_text(json.dumps(saved, indent=1), "utf-8")
    assert tokenizer_digest(copy) == tokenizer_digest(base)
    saved["model"]["vocab"]["zzz"] = 999
    file.write_text(json.dumps(saved), "utf-8")
    assert tokenizer_digest(copy) != tokenizer_digest(base)


def test_other_vocabularies_are_known_by_their_files(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("one\ntwo\n")
    before = tokenizer_digest(tmp_path)
    (tmp_path / "vocab.txt").write_text("one\nthree\n")
    assert tokenizer_digest(tmp_path) != before


def test_a_folder_resolves_to_itself(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parent)
    assert resolve_folder("copy") == resolve_folder("./copy") == resolve_folder(str(copy)) == copy.resolve()


def test_what_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match=r"holds no config\.json: it is not a model folder"):
        resolve_folder(str(tmp_path))
    with pytest.raises(MissingModelError, match=r"no model folder a/b/c"):
        resolve_folder("a/b/c")


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(MissingModelError, match=r"no \.safetensors file.*pickled weights are refused"):
        model_digest(copy)


def test_half_a_snapshot_of_the_hub_is_downloaded_again(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    offline, snapshot = False, tmp_path / "snapshot"
    snapshot.mkdir()
    shutil.copy(base / "tokenizer.json", snapshot)  # another program fetched it

    def give(model: str, local_files_only: bool = False, **_: object) -> str:
        asked.append(local_files_only)
        if not local_files_only and not offline:
            shutil.copytree(base, snapshot, dirs_exist_ok=True)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", give)
    assert resolve_folder("some/model") == snapshot and asked == [True, False]
    assert resolve_folder("some/model") == snapshot and asked == [True, False, True]
    (snapshot / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00002-of-00002.safetensors"}}')
    assert resolve_folder("some/model") == snapshot and asked[3:] == [True, False]
    (snapshot / "config.json").unlink()
    offline = True
    with pytest.raises(MissingModelError, match=r"no config\.json .*HF_HUB_OFFLINE"):
        resolve_folder("some/model")


@pytest.mark.parametrize("content", [b'{"model": {', b"\xff\xfe", b"[]", b"[" * 100_000])
def test_a_damaged_tokenizer_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(DamagedModelError, match=r"tokenizer\.json .*: download or save the model again"):
        tokenizer_digest(tmp_path)


def test_a_name_that_no_file_system_takes_is_a_model_that_is_missing() -> None:
    with pytest.raises(MissingModelError, match=r"no model folder 'x{99}…' \(File name too long\)"):
        resolve_folder("x" * 100_000)
