"""What is written is there whole or not at all, whatever the disk does and whoever writes beside."""

import errno
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from xpert import writing
from xpert.errors import SettingsError, StorageError
from xpert.models.folders import whole_folder
from xpert.pool.setup import PoolSetup, write_setup
from xpert.reporting.page import write_page
from xpert.runtime import checkpoint as device_checkpoint
from xpert.space.basis import Space
from xpert.space.storing import save_space
from xpert.tuning import checkpoint
from xpert.tuning.progress import Progress, discard
from xpert.writing import STALE_S, disk_refusals, name_aside, sync_to_disk, whole_file

LARGE = np.zeros(100_000)


@contextmanager
def small_disk() -> Iterator[None]:
    """No file may become longer than a page of memory."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def a_space() -> Space:
    return Space(
        words=("calm",), vectors=np.eye(1, 5000), origin=np.zeros(5000), null=np.zeros((1, 5000)), scale=1.0,
        summarizer="s", base="b", prompts="p",
    )  # fmt: skip


def a_state() -> Any:
    return SimpleNamespace(adapter=LARGE, first_moment=LARGE, second_moment=LARGE)


def a_setup() -> PoolSetup:
    return PoolSetup(base="b" * 10_000, summarizer="s")


WRITERS: dict[str, Callable[[Path], None]] = {
    "space": lambda room: save_space(a_space(), room / "space.safetensors"),
    "setup": lambda room: write_setup(room, a_setup()),
    "page": lambda room: write_page(room / "page.html", "x" * 10_000),
    "checkpoint": lambda room: checkpoint.save(room, Progress(), {"x": torch.zeros(100_000)}, {}),
    "checkpoint of a device": lambda room: device_checkpoint.save(room, Progress(), a_state(), LARGE, {}),
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=list(WRITERS))
def test_a_full_disk_is_told_in_one_way_and_leaves_what_was_there(
    writer: Callable[[Path], None], tmp_path: Path
) -> None:
    with small_disk(), pytest.raises(StorageError, match=r"cannot be written \(.*File too large.*: free space"):
        writer(tmp_path)
    assert names(tmp_path) == []
    writer(tmp_path)
    (written,) = names(tmp_path)
    before = (tmp_path / written).read_bytes()
    with small_disk(), pytest.raises(StorageError):
        writer(tmp_path)
    assert names(tmp_path) == [written]
    assert (tmp_path / written).read_bytes() == before


def test_a_folder_on_a_full_disk_is_told_by_safetensors_too(tmp_path: Path) -> None:
    def write() -> None:
        with whole_folder(tmp_path / "above" / "out") as fresh:
            save_file({"x": LARGE}, fresh / "x.safetensors")

    with small_disk(), pytest.raises(StorageError, match=r"out cannot be written \(.*File too large"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_damage_that_is_read_is_not_called_a_full_disk() -> None:
    from safetensors import SafetensorError, deserialize

    with pytest.raises(SafetensorError, match="deserializing"), disk_refusals(Path("x")):
        deserialize(b"no tensors")


def test_two_programs_that_write_one_file_never_share_a_name(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with whole_file(file) as one:
        one.write_text("one")
        with whole_file(file) as two:
            two.write_text("two")
        assert file.read_text() == "two"
    assert file.read_text() == "one"
    assert names(tmp_path) == ["file"]


def test_of_two_programs_that_write_one_folder_the_first_to_end_has_it_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def second() -> None:
        with whole_folder(out) as fresh:
            (fresh / "second").write_text("second")
            with whole_folder(out) as other:
                (other / "first").write_text("first")

    with pytest.raises(SettingsError, match="exists already"):
        second()
    assert names(tmp_path) == ["out/first"]


def test_a_folder_that_is_taken_in_the_last_instant_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, real = tmp_path / "out", os.replace

    def late(source: Path, target: Path) -> None:
        out.mkdir()
        (out / "first").write_text("first")
        real(source, target)

    def second() -> None:
        with whole_folder(out) as fresh:
            (fresh / "second").write_text("second")
            monkeypatch.setattr(os, "replace", late)

    with pytest.raises(SettingsError, match="exists already"):
        second()
    assert names(tmp_path) == ["out/first"]


def test_threads_that_write_one_folder_never_mix(tmp_path: Path) -> None:
    out, start = tmp_path / "out", threading.Barrier(4)

    def write(who: int) -> None:
        start.wait(10)
        with suppress(SettingsError), whole_folder(out) as fresh:
            for part in range(5):
                (fresh / f"{who}-{part}").write_text("x")

    for thread in (threads := [threading.Thread(target=write, args=(who,)) for who in range(4)]):
        thread.start()
    for thread in threads:
        thread.join(20)
    written = names(tmp_path)
    assert len(written) == 5 and len({name[:5] for name in written}) == 1


@pytest.mark.parametrize("kind", ["file", "folder", "discarded"])
def test_what_killed_programs_left_is_swept_when_it_is_old(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    old, young = name_aside(tmp_path / "another", "new"), name_aside(out, "part")
    foreign = tmp_path / ".out.1234abcd.new"
    for place in (old, young, foreign):
        place.mkdir()
        (place / "half").write_text("half")
    past = time.time() - STALE_S - 60
    for place in (old / "half", old, foreign / "half", foreign):
        os.utime(place, (past, past))
    if kind == "file":
        with whole_file(out) as fresh:
            fresh.write_text("whole")
    elif kind == "folder":
        with whole_folder(out):
            pass
    else:
        discard(out)
    assert not old.exists() and young.is_dir() and foreign.is_dir()


def test_a_folder_is_discarded_beside_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, real = tmp_path / "mine.partial", os.replace
    folder.mkdir()

    def faster(source: Path, target: Path) -> None:
        real(source, tmp_path / "taken")
        real(source, target)

    monkeypatch.setattr(os, "replace", faster)
    discard(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_windows_syncs_what_may_be_written_and_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    file, synced = tmp_path / "file", []
    file.write_text("x")

    def fsync(handle: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        synced.append(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(writing, "os", SimpleNamespace(**{**vars(os), "name": "nt", "fsync": fsync}))
    sync_to_disk(file)
    sync_to_disk(tmp_path)
    assert len(synced) == 1


def test_names_aside_are_hidden_and_tell_whose_they_are(tmp_path: Path) -> None:
    assert re.fullmatch(r"\.out\.xpert-[0-9a-f]{8}\.new", name_aside(tmp_path / "out", "new").name)


@pytest.mark.skipif(os.name == "nt", reason="needs modes of files")
def test_what_is_private_is_nobody_elses_from_its_first_byte_on(tmp_path: Path) -> None:
    from xpert.reporting.page import write_page
    from xpert.writing import private_folder

    file, before = tmp_path / "page.html", os.umask(0)
    try:
        file.write_text("old")
        with whole_file(file, private=True) as fresh:
            assert fresh.stat().st_mode & 0o777 == 0o600
            fresh.write_text("new")
        write_page(tmp_path / "other.html", "<p>")
        private_folder(tmp_path / "cache" / "pictures")
    finally:
        os.umask(before)
    assert file.read_text() == "new" and file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "other.html").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "cache" / "pictures").stat().st_mode & 0o777 == 0o700
