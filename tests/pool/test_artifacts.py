"""The store of bytes: content decides the name, nothing half-written is ever visible."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from xpert.errors import DamagedModelError, PoolError, StorageError
from xpert.models.reference import folder_digest
from xpert.pool.artifacts import STALE_S, ArtifactStore

FILES = ["a.json", "b.bin"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.json").write_text("{}")
    (folder / "b.bin").write_bytes(bytes(range(256)) * 9000)
    (folder / "README.md").write_text("about it")
    (folder / "secret.txt").write_text("not to be copied")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_put_copies_the_named_files_and_no_other(store: ArtifactStore, source: Path) -> None:
    digest = store.put(source, [*FILES, "README.md"])
    assert contents(store.path(digest)) == {name: (source / name).read_bytes() for name in [*FILES, "README.md"]}
    assert store.digests() == [digest]
    assert store.has(digest)
    assert store.verify(digest)


def test_digest_is_of_names_and_contents_without_the_card(store: ArtifactStore, source: Path) -> None:
    assert store.put(source, [*FILES, "README.md"]) == store.put(source, FILES) == folder_digest(source, tuple(FILES))
    (source / "a.json").rename(source / "c.json")
    assert store.put(source, ["c.json", "b.bin"]) != folder_digest(source, tuple(FILES))
    assert len(store.digests()) == 2


def test_put_of_what_exists_changes_nothing(store: ArtifactStore, source: Path) -> None:
    digest = store.put(source, FILES)
    before = store.path(digest).stat()
    assert store.put(source, FILES) == digest
    after = store.path(digest).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert [entry.name for entry in store.folder.iterdir()] == [digest]


def test_put_heals_what_was_damaged(store: ArtifactStore, source: Path) -> None:
    digest = store.put(source, FILES)
    (store.path(digest) / "b.bin").write_bytes(b"rotten")
    assert not store.verify(digest)
    assert store.put(source, FILES) == digest
    assert store.verify(digest)
    assert [entry.name for entry in store.folder.iterdir()] == [digest]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "a.json").unlink(),
        lambda folder: (folder / "more.txt").write_text("more"),
        lambda folder: (folder / "b.bin").write_bytes((folder / "b.bin").read_bytes()[:-1]),
        lambda folder: os.rename(folder, folder.parent / "elsewhere"),
    ],
)
def test_verify_sees_every_change(store: ArtifactStore, source: Path, spoil: Callable[[Path], object]) -> None:
    digest = store.put(source, FILES)
    spoil(store.path(digest))
    assert not store.verify(digest)


def test_delete(store: ArtifactStore, source: Path) -> None:
    digest = store.put(source, FILES)
    store.delete(digest)
    assert not store.has(digest)
    assert list(store.folder.iterdir()) == []
    store.delete(digest)
    assert store.digests() == []


@pytest.mark.parametrize(
    "digest", ["", "..", "../" * 21 + "x", "A" * 64, "a" * 63, "a" * 65, "a" * 63 + "/", "a" * 64 + "\n"]
)
def test_no_path_comes_from_outside(store: ArtifactStore, digest: str) -> None:
    for use in (store.path, store.delete, store.has, store.verify):
        with pytest.raises(PoolError, match="is no digest"):
            use(digest)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "sub/x", "..", ".hidden", "", "."])
def test_file_names_are_plain(store: ArtifactStore, source: Path, name: str) -> None:
    with pytest.raises(PoolError, match="no plain file name"):
        store.put(source, [*FILES, name])
    assert list(store.folder.iterdir()) == []


def test_file_that_is_missing(store: ArtifactStore, source: Path) -> None:
    with pytest.raises(StorageError, match=r"source cannot be read \(No such file"):
        store.put(source, [*FILES, "none"])
    assert list(store.folder.iterdir()) == []


def test_expected_digest(store: ArtifactStore, source: Path) -> None:
    with pytest.raises(DamagedModelError, match="changed while it was read"):
        store.put(source, FILES, expected="a" * 64)
    assert list(store.folder.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_says_how_much_is_needed(
    store: ArtifactStore, source: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StorageError, match=r"No space left.*2304002 bytes are needed: free space"):
            store.put(source, FILES)
    assert list(store.folder.iterdir()) == []
    assert store.verify(store.put(source, FILES))


def test_what_was_killed_is_swept_when_it_is_old(store: ArtifactStore, source: Path) -> None:
    digest = store.put(source, FILES)
    for name in (".staged-old", ".gone-old", ".staged-new", "foreign"):
        (store.folder / name).mkdir()
        (store.folder / name / "half").write_text("half")
    past = time.time() - STALE_S - 60
    for name in (".staged-old", ".gone-old", "foreign", digest):
        for place in (*(store.folder / name).iterdir(), store.folder / name):
            os.utime(place, (past, past))
    again = ArtifactStore(store.folder)
    assert again.digests() == [digest]
    assert sorted(entry.name for entry in store.folder.iterdir()) == sorted([".staged-new", "foreign", digest])


def test_read_only(store: ArtifactStore, source: Path) -> None:
    digest = store.put(source, FILES)
    before = contents(store.folder)
    closed = ArtifactStore(store.folder, read_only=True)
    assert closed.verify(digest)
    with pytest.raises(PoolError, match="read only"):
        closed.put(source, FILES)
    with pytest.raises(PoolError, match="read only"):
        closed.delete(digest)
    with pytest.raises(PoolError, match="read only"), closed.lock():
        pass
    assert contents(store.folder) == before


def test_lock_is_held_by_one(store: ArtifactStore) -> None:
    with store.lock(), pytest.raises(StorageError, match="another process"), ArtifactStore(store.folder).lock(0.05):
        pass
    with store.lock(0.05):
        assert store.digests() == []


def test_store_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="could not be opened"):
        ArtifactStore(tmp_path / "file" / "store")
