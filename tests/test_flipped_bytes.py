"""One byte changed in each kind of file that XPerT writes: refused with the file and the way out, or without effect."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xpert.errors import XpertError
from xpert.export import ExportSettings, export
from xpert.merging.adapters import merge_adapters
from xpert.models.adapters import inspect_adapter
from xpert.models.cards import card_facts
from xpert.models.reference import ModelReference
from xpert.pool import open_pool
from xpert.pool.creating import create_pool
from xpert.pool.setup import SETUP_FILE, SPACE_FILE, PoolSetup, read_setup, write_setup
from xpert.probing.painted import is_painted, save_picture
from xpert.runtime import checkpoint as device_checkpoint
from xpert.runtime.adopting import read_trained
from xpert.runtime.interface import TrainingState
from xpert.runtime.manifest import read_manifest
from xpert.space.basis import Space
from xpert.space.storing import save_space
from xpert.testing.catalogs import sample_explanation
from xpert.testing.tiny import tiny_adapter, tiny_base
from xpert.tuning import checkpoint
from xpert.tuning.progress import Progress
from xpert.writing import whole_file

FLIPS = 40
IDENTITY = {"settings": "a" * 64, "data": "b" * 64}


@dataclass(frozen=True)
class Written:
    """Folders with one of everything, never changed."""

    room: Path

    def copy(self, place: Path) -> Path:
        return Path(shutil.copytree(self.room, place))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    room, beside = tmp_path_factory.mktemp("written") / "all", tmp_path_factory.mktemp("beside")
    base = tiny_base(beside / "base")
    adapters = [tiny_adapter(base, beside / f"adapter-{seed}", seed=seed) for seed in range(2)]
    merge_adapters({str(n): (a, 0.5) for n, a in enumerate(adapters)}, base, room / "merged")
    empty = Space((), np.zeros((0, 3)), np.full(3, 0.5), np.zeros((2, 3)), 1.0, "s", "b", "p")
    formal = empty.with_word("formal", np.array([1.0, 0.0, 0.0]))
    setup = PoolSetup(base="tiny", summarizer="s", contrasts={"formal": (("plain", "formal"),)})
    with create_pool(room / "pool", (formal, setup)) as pool:
        for name, adapter in zip(("anna", "bob"), (adapters[0], room / "merged"), strict=True):
            pool.add(
                adapter,
                base_folder=base,
                base_name="tiny",
                name=name,
                explain=lambda _: sample_explanation(),
                note="hi",
            )
    with open_pool(room / "old-pool"):  # as older versions wrote one
        save_space(formal, room / "old-pool" / "space" / SPACE_FILE)
        write_setup(room / "old-pool" / "space", setup)
    progress = Progress(step=2, train_losses=[1.5, 1.25], validation_losses=[(0, 2.0), (2, 1.75)], reported=2)
    generator = torch.Generator().manual_seed(0)
    tensors = {f"adapter/{n}": torch.rand(3, 4, generator=generator) for n in range(3)}
    checkpoint.save(room / "run.partial", progress, tensors, IDENTITY)
    export(ModelReference(str(base)), room / "export", ExportSettings(rank=2, max_length_tokens=64))
    size = read_manifest(room / "export").adapter.size
    vectors = [np.full(size, number, np.float32) for number in range(4)]
    device_checkpoint.save(room / "phone.partial", progress, TrainingState(2, *vectors[:3]), vectors[3], IDENTITY)
    with whole_file(room / "cache" / "picture.png") as fresh:
        save_picture(Image.effect_noise((16, 16), 60).convert("RGB"), fresh)
    return Written(room)


def plain(value: Any) -> str:
    """Something that differs where a value does."""
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, dict):
        return repr([(key, plain(one)) for key, one in value.items()])
    if isinstance(value, tuple | list):
        return repr([plain(one) for one in value])
    return repr(value)


def of_pool(room: Path) -> object:
    with open_pool(room / "pool", create=False, read_only=True) as pool:
        records = pool.list()
        return (
            records,
            [pool.get(record.name) for record in records],
            [weights(pool.adapter_path(r.name)) for r in records],
            facts_of(pool.space),
        )


def weights(folder: Path) -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())]


def of_space(folder: Path) -> object:
    with open_pool(folder, create=False, read_only=True) as pool:
        return facts_of(pool.space)


def of_setup(folder: Path) -> object:
    with open_pool(folder, create=False, read_only=True) as pool:
        return pool.setup


def facts_of(space: Space) -> object:
    return space.digest, space.words, space.e_ortho, space.e_decomp, space.summarizer, space.base, space.prompts


def of_adapter(folder: Path) -> object:
    """What is read of an adapter outside of a pool; a card's prose is anybody's to write."""
    facts = inspect_adapter(folder)
    card = {key: value for key, value in card_facts(folder / "README.md").items() if not key.startswith("sea")}
    return facts.digest, facts.settings, facts.base_digest, card


def of_export(room: Path) -> object:
    return read_manifest(room / "export").model_copy(update={"seal": None})


def of_trained(room: Path) -> object:
    return read_trained(room / "phone.partial" / "state.safetensors", read_manifest(room / "export", verify=False))


def of_cache(room: Path) -> object:
    """A picture of the cache that is not whole is painted again."""
    file = room / "cache" / "picture.png"
    return Image.open(file).tobytes() if is_painted(file) else Image.open(WHOLE[0]).tobytes()


WHOLE: list[Path] = []

KINDS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "pool: catalog": ("pool/catalog.sqlite", of_pool),
    "pool: weights": ("pool/artifacts/*/adapter_model.safetensors", of_pool),
    "pool: configuration": ("pool/artifacts/*/adapter_config.json", of_pool),
    "pool: card": ("pool/artifacts/*/README.md", of_pool),
    "pool: space": ("pool/artifacts/*/space.safetensors", lambda room: of_space(room / "pool")),
    "pool: setup": ("pool/artifacts/*/setup.json", lambda room: of_setup(room / "pool")),
    "old pool: space": ("old-pool/space/space.safetensors", lambda room: of_space(room / "old-pool")),
    "old pool: setup": ("old-pool/space/setup.json", lambda room: of_setup(room / "old-pool")),
    "tuning: checkpoint": ("run.partial/*", lambda room: checkpoint.load(room / "run.partial", IDENTITY)),
    "device: state": ("phone.partial/*", lambda room: device_checkpoint.load(room / "phone.partial", IDENTITY)),
    "device: state, adopted": ("phone.partial/*", of_trained),
    "export: manifest": ("export/manifest.json", of_export),
    "export: graph": ("export/train.onnx", of_export),
    "export: weights": ("export/base.safetensors", of_export),
    "export: golden": ("export/golden.json", of_export),
    "export: tokenizer": ("export/tokenizer.json", of_export),
    "export: adapter": ("export/adapter/*", of_export),
    "merged: weights": ("merged/adapter_model.safetensors", lambda room: of_adapter(room / "merged")),
    "merged: configuration": ("merged/adapter_config.json", lambda room: of_adapter(room / "merged")),
    "merged: card": ("merged/README.md", lambda room: of_adapter(room / "merged")),
    "cache: picture": ("cache/picture.png", of_cache),
}


@pytest.mark.parametrize(("pattern", "read"), KINDS.values(), ids=KINDS)
def test_a_flipped_byte_is_refused_or_changes_nothing(
    pattern: str, read: Callable[[Path], object], written: Written, tmp_path: Path
) -> None:
    room = written.copy(tmp_path / "all")
    WHOLE[:] = [written.room / "cache" / "picture.png"]
    files = sorted(room.glob(pattern))
    assert files
    before = plain(read(room))
    numbers, refused = random.Random(pattern), 0
    for _ in range(FLIPS):
        file = numbers.choice(files)
        raw = file.read_bytes()
        place = numbers.randrange(min(len(raw), 4096) if numbers.random() < 0.5 else len(raw))
        flipped = bytearray(raw)
        flipped[place] ^= numbers.randrange(1, 256)
        file.write_bytes(flipped)
        try:
            after = plain(read(room))
        except XpertError as error:
            refused += 1
            said = str(error)
            named = file.name in said or str(file.parent) in said
            assert named and any(way in said for way in WAYS), f"byte {place} of {file.name}: {said}"
        else:
            assert after == before, f"byte {place} of {file.name} changed what is read"
        finally:
            file.write_bytes(raw)
    assert plain(read(room)) == before
    assert refused or pattern.startswith("cache")


WAYS = ("restore", "rebuild", "delete", "again", "--fresh", "remove", "install", "give ", "take ", "save ")


def test_files_of_before_there_were_digests_are_read(written: Written, tmp_path: Path) -> None:
    """As they were written before: without seals, and a catalog of the first layout."""
    from safetensors.torch import load_file, save_file

    room = written.copy(tmp_path / "all")
    file = room / "old-pool" / "space" / SETUP_FILE
    setup = json.loads(file.read_text())
    del setup["seal"]
    file.write_text(json.dumps(setup, indent=1))
    assert read_setup(file.parent).contrasts
    manifest = json.loads((room / "export" / "manifest.json").read_text())
    del manifest["seal"]
    (room / "export" / "manifest.json").write_text(json.dumps(manifest))
    assert read_manifest(room / "export").seal is None
    file = room / "run.partial" / "checkpoint.safetensors"
    progress = json.dumps({"progress": {"step": 3, "validation_losses": []}, "identity": IDENTITY})
    save_file(load_file(file), file, {"format": "pt", "xpert": progress})
    found = checkpoint.load(room / "run.partial", IDENTITY)
    assert found is not None and found[0].step == 3


def test_the_pools_of_the_package_are_read_as_they_are() -> None:
    from xpert.embedded import EMBEDDED_IMAGE_POOL, EMBEDDED_POOL

    for folder in (EMBEDDED_POOL, EMBEDDED_IMAGE_POOL):
        with open_pool(folder, create=False, read_only=True) as pool:
            assert pool.space.words and pool.setup.base
            assert pool.list() and all(pool.adapter_path(record.name).is_dir() for record in pool.list())


def test_an_adapter_is_read_once_and_again_where_it_changed(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xpert.models import reference

    room, read = written.copy(tmp_path / "all"), list[str]()
    real = reference.file_digest
    monkeypatch.setattr(reference, "file_digest", lambda path: read.append(path.name) or real(path))  # type: ignore[func-returns-value]
    with open_pool(room / "pool", create=False, read_only=True) as pool:
        folder = pool.adapter_path("anna")
        once = list(read)
        assert pool.adapter_path("anna") == folder and read == once
        weights = folder / "adapter_model.safetensors"
        raw = bytearray(weights.read_bytes())
        raw[-1] ^= 1
        weights.write_bytes(raw)
        with pytest.raises(XpertError, match=r"files of 'anna' in .* are not those that were added.*add it again"):
            pool.adapter_path("anna")
