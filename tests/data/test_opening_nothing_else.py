"""A stranger's data file opens itself and nothing else: no network, no other path, no program; pipes never hang."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from xpert.data import read_samples
from xpert.data.hub import check_config
from xpert.data.pictures import open_pictures
from xpert.errors import DataError
from xpert.testing.tiny_pictures import tiny_pictures

_WATCHED = """
import json, os, sys

seen = []


def hook(event, args):
    if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
        seen.append(["open", os.fsdecode(args[0])])
    elif event.startswith(("socket.connect", "socket.getaddrinfo", "subprocess.", "os.system", "os.exec", "os.posix_")):
        seen.append([event, ""])
    elif event in ("os.listdir", "os.scandir") and args and isinstance(args[0], (str, bytes)):
        seen.append(["list", os.fsdecode(args[0])])


from xpert.data import read_samples
from xpert.data.pictures import open_pictures
from xpert.errors import DataError
import numpy, PIL.Image, PIL.ImageCms, pyarrow.compute, pyarrow.parquet, xpert.data.colours

PIL.Image.init()
jobs, found = json.loads(sys.argv[1]), []
sys.addaudithook(hook)
for how, source in jobs:
    seen = []
    try:
        if how == "pictures":
            told = len(open_pictures(source, need_captions=False))
        else:
            told = [s.response for s in read_samples(source, format="hub" if how == "hub" else "auto")]
    except DataError as error:
        told = str(error)
    found.append({"told": told, "seen": seen})
print(json.dumps(found))
"""


def watched(jobs: Sequence[tuple[str, Path | str]], cwd: Path) -> list[dict[str, Any]]:
    """Read sources one after another in a process of their own, and what was opened meanwhile."""
    run = subprocess.run(
        [sys.executable, "-c", _WATCHED, json.dumps([(how, str(source)) for how, source in jobs])],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cwd / "hf")},
    )
    assert run.returncode == 0, run.stderr
    found: list[dict[str, Any]] = json.loads(run.stdout.splitlines()[-1])
    return found


def opened_elsewhere(found: dict[str, Any], source: Path) -> list[Any]:
    """What was opened that is neither in the source nor code of Python's."""
    code = {str(Path(place).resolve()) for place in (sys.prefix, sys.base_prefix, Path(__file__).parents[2] / "src")}
    own = str(source.resolve())
    outside = []
    for event, place in found["seen"]:
        real = os.path.realpath(place) if place else ""
        if event == "open" and (real.startswith((own, *code)) or place.endswith((".py", ".pyc", ".so"))):
            continue
        if event == "list" and (real.startswith((own, *code)) or not place):
            continue
        outside.append((event, place))
    return outside


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A picture that lies outside of every source."""
    file = tmp_path / "outside" / "secret.png"
    file.parent.mkdir()
    Image.new("RGB", (4, 4), (9, 9, 9)).save(file)
    (tmp_path / "outside" / "secret.jsonl").write_text('{"text": "secret"}\n')
    return file


def picture_table(*paths: str | None) -> pa.Table:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    cells = [{"bytes": None, "path": path} for path in paths]
    return pa.table({"image": pa.array(cells, kind), "text": ["a picture"] * len(paths)})


def save_arrow(table: pa.Table, file: Path) -> None:
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def as_parquet_file(table: pa.Table, room: Path) -> Path:
    pq.write_table(table, room / "mine.parquet")
    return room / "mine.parquet"


def as_parquet_folder(table: pa.Table, room: Path) -> Path:
    (room / "data").mkdir()
    pq.write_table(table, room / "data" / "train-00000-of-00001.parquet")
    return room


def as_saved(table: pa.Table, room: Path) -> Path:
    save_arrow(table, room / "data-00000-of-00001.arrow")
    (room / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (room / "dataset_info.json").write_text("{}")
    return room


def as_metadata(table: pa.Table, room: Path) -> Path:
    Image.new("RGB", (4, 4)).save(room / "0.png")
    rows = [{"file_name": "0.png", "text": "own"}]
    rows += [{"file_name": cell["path"], "text": "a picture"} for cell in table["image"].to_pylist()]
    (room / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return room


LAYOUTS = [as_parquet_file, as_parquet_folder, as_saved, as_metadata]
PLACES = [
    "{secret}",
    "../outside/secret.png",
    "data/../../outside/secret.png",
    "file://{secret}",
    "zip://a.png::{secret}",
    "http://127.0.0.1:{port}/a.png",
    "https://127.0.0.1:{port}/a.png",
    "ftp://127.0.0.1:{port}/a.png",
    "s3://bucket/a.png",
    "hf://datasets/a/b/a.png",
    "simplecache::http://127.0.0.1:{port}/a.png",
    "/dev/zero",
    "/proc/self/environ",
    "~/secret.png",
    "C:\\secret.png",
    "\\\\host\\share\\a.png",
    "a\0.png",
    "link.png",
    "pipe.png",
]


@pytest.mark.skipif(os.name == "nt", reason="needs pipes")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_row_of_pictures_opens_nothing_outside_its_source(
    layout: Callable[[pa.Table, Path], Path], secret: Path, tmp_path: Path
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    os.symlink(secret, room / "link.png") if layout is not as_metadata else None
    os.mkfifo(room / "pipe.png") if layout is not as_metadata else None
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        server.settimeout(0.05)
        places = [place.format(secret=secret, port=port) for place in PLACES]
        source = layout(picture_table(*places), room)
        (found,) = watched([("pictures", source)], tmp_path)
        with pytest.raises(TimeoutError):
            server.accept()
    assert isinstance(found["told"], str) and f"of {len(places) + (layout is as_metadata)}" in found["told"]
    assert opened_elsewhere(found, room) == []
    for place in places:  # each of them is refused, also alone
        one = tmp_path / f"one-{places.index(place)}"
        one.mkdir()
        with pytest.raises(DataError, match="not opened|no such file|only regular files|only names a file"):
            open_pictures(str(layout(picture_table(place), one)), need_captions=False)


@pytest.mark.parametrize("layout", [as_parquet_folder, as_saved, as_metadata])
def test_a_row_may_name_a_picture_of_its_own_folder(layout: Callable[[pa.Table, Path], Path], tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (4, 6), (9, 9, 9)).save(tmp_path / "sub" / "1.png")
    found = open_pictures(str(layout(picture_table("sub/1.png"), tmp_path)))
    assert found.size(len(found) - 1) == (4, 6) and found.name(len(found) - 1) == "1.png"


README = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {path}\n---\n"


def test_the_card_of_a_folder_names_no_files(secret: Path, tmp_path: Path) -> None:
    paths = (f"{secret.parent}/secret.jsonl", "../outside/secret.jsonl", "http://127.0.0.1:9/secret.jsonl")
    jobs: list[tuple[str, Path]] = []
    for path, card, how in product(paths, ("README.md", ".huggingface.yaml"), ("texts", "hub", "pictures")):
        room = tmp_path / f"room{len(jobs)}"
        (room / "data").mkdir(parents=True)
        text = README.format(path=path)
        (room / card).write_text(text if card == "README.md" else text.strip("-\n"))
        (room / "data" / "mine.jsonl").write_text('{"text": "mine"}\n')
        if how == "pictures":
            tiny_pictures(room / "data", count=2)
        jobs.append((how, room))
    for (how, room), found in zip(jobs, watched(jobs, tmp_path), strict=True):
        assert found["told"] == (2 if how == "pictures" else ["mine"])
        assert opened_elsewhere(found, room) == []
    assert not (tmp_path / "hf").exists()  # and no copy stays in a cache of the library's


@pytest.mark.parametrize(
    "names", [["../data.arrow"], ["/etc/passwd"], ["sub/data.arrow"], ["a.arrow\0"], [None], "x", []]
)
def test_a_saved_dataset_names_files_of_its_own_folder(names: Any, tmp_path: Path) -> None:
    save_arrow(pa.table({"text": ["secret"]}), tmp_path / "data.arrow")
    room = tmp_path / "room"
    (room / "sub").mkdir(parents=True)
    save_arrow(pa.table({"text": ["a"]}), room / "sub" / "data.arrow")
    listed = [{"filename": name} for name in names] if isinstance(names, list) else names
    (room / "state.json").write_text(json.dumps({"_data_files": listed}))
    (room / "dataset_info.json").write_text("{}")
    with pytest.raises(DataError, match="is not a readable saved dataset .*write it again with `save_to_disk`"):
        read_samples(room)


@pytest.mark.parametrize("split", ["..", "../outside", "/", "a/b"])
def test_a_saved_dataset_names_splits_of_its_own_folder(split: str, tmp_path: Path) -> None:
    as_saved(picture_table("1.png"), tmp_path)
    room = tmp_path / "room"
    room.mkdir()
    (room / "dataset_dict.json").write_text(json.dumps({"splits": [split]}))
    with pytest.raises(DataError, match="is not a readable saved dataset"):
        read_samples(room, split=split)


@pytest.mark.skipif(os.name == "nt", reason="needs pipes and links")
@pytest.mark.parametrize("name", ["me.jsonl", "me.txt.gz", "me.parquet", "me.arrow", "data/me.csv"])
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link"])
def test_entries_of_a_folder_that_are_no_files_of_it_are_refused(kind: str, name: str, tmp_path: Path) -> None:
    room, other = tmp_path / "room", tmp_path / "secret.jsonl"
    (room / name).parent.mkdir(parents=True)
    other.write_text('{"text": "secret"}\n')
    if kind == "pipe":
        os.mkfifo(room / name)
    elif kind == "socket":
        os.chdir((room / name).parent)  # the name of a socket has at most about 100 characters
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(Path(name).name)
        finally:
            os.chdir(tmp_path)
    else:
        os.symlink("/dev/zero" if kind == "device" else other, room / name)
    words = {"pipe": "is a pipe, only regular files", "socket": "is a socket, only regular files"}
    with pytest.raises(DataError, match=words.get(kind, "is a link that leads out of its folder")):
        read_samples(room)


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_link_that_the_user_names_is_followed_and_so_is_one_within_the_folder(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    (room / "me.jsonl").write_text('{"text": "mine"}\n')
    os.symlink(room, tmp_path / "folder")
    os.symlink(room / "me.jsonl", tmp_path / "file.jsonl")
    os.symlink("me.jsonl", room / "again.jsonl")
    assert len(read_samples(tmp_path / "folder")) == 2 and len(read_samples(tmp_path / "file.jsonl")) == 1


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_download_of_the_hub_may_link_to_where_its_bytes_are(tmp_path: Path) -> None:
    snapshot = tmp_path / "datasets--me--mine" / "snapshots" / "abc"
    (snapshot / "data").mkdir(parents=True)
    (tmp_path / "datasets--me--mine" / "blobs").mkdir()
    (tmp_path / "datasets--me--mine" / "blobs" / "1").write_text('{"text": "mine"}\n')
    os.symlink("../../../blobs/1", snapshot / "data" / "train.jsonl")
    assert [s.response for s in read_samples(snapshot)] == ["mine"]
    os.symlink("/etc/hostname", snapshot / "data" / "more.txt")
    with pytest.raises(DataError, match=r"more.txt is a link that leads out of its folder"):
        read_samples(snapshot)


def test_only_names_of_the_hub_are_asked_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("of the working folder")
    names = ("http://127.0.0.1:9/a", "ftp://127.0.0.1/a", "zip://a::b", "text", "json", "imagefolder", "parquet", "~x")
    jobs = [(how, name) for name in names for how in ("hub", "pictures")]
    for found in watched(jobs, tmp_path):
        assert isinstance(found["told"], str)
        assert not [place for event, place in found["seen"] if "secret" in place or event.startswith("socket")]


@pytest.mark.parametrize(
    "files",
    ["/etc/passwd", "../x.csv", ["a.csv", "https://x/y.csv"], {"train": "zip://a::b"}, [{"split": "a", "path": "~/x"}]],
)
def test_the_card_of_a_dataset_of_the_hub_names_its_own_files(files: Any) -> None:
    check_config({"configs": [{"config_name": "a", "data_files": "data/*.csv"}]}, "me/mine")
    check_config({"configs": "x", "tags": ["/etc"]}, "me/mine")
    for key in ("data_files", "data_dir"):
        with pytest.raises(DataError, match="me/mine: its card names something outside its own folder"):
            check_config({"configs": [{"config_name": "a", key: files}]}, "me/mine")


def test_rows_of_a_dataset_of_the_hub_open_nothing_else(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the local cache, as the library itself prepares it there."""
    import datasets

    from xpert.data import hub

    inner = tmp_path / "hub" / "datasets--me--mine" / "1.png"
    inner.parent.mkdir(parents=True)
    Image.new("RGB", (4, 6)).save(inner)
    paths = [str(secret), f"file://{secret}", "http://127.0.0.1:9/a.png", str(inner)]
    prepared = datasets.Dataset(picture_table(*paths)).cast_column("image", datasets.Image())
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: prepared)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "_is_offline", lambda: True)
    with pytest.raises(
        DataError, match=r"row 1 \(secret.png\) names something outside the dataset.* \(and 0 more|row 3"
    ):
        open_pictures("me/mine")
    prepared = prepared.select([3])
    assert open_pictures("me/mine").size(0) == (4, 6)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_what_is_prepared_of_a_dataset_is_private_and_gone_after(
    error: type[BaseException] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    from xpert.data import hub

    rooms: list[Path] = []

    class Builder:
        config = type("Config", (), {"data_files": {"train": ["hf://datasets/me/mine@1/a.parquet"]}})()

        def download_and_prepare(self) -> None:
            (rooms[0] / "mine.arrow").write_bytes(b"personal")

        def as_dataset(self, split: str) -> Any:
            return datasets.Dataset.from_dict({"text": ["one", "two"]})

    Builder.__module__ = "datasets.packaged_modules.parquet.parquet"

    def opened(name: str, revision: str, cache_dir: str) -> Builder:
        assert (name, revision) == ("me/mine", "1")
        rooms.append(Path(cache_dir))
        assert os.name == "nt" or rooms[0].stat().st_mode & 0o77 == 0
        return Builder()

    found = type("Info", (), {"id": "me/mine", "sha": "1", "siblings": ()})()
    monkeypatch.setattr(hub, "look_up", lambda name, split: found)
    monkeypatch.setattr(datasets, "load_dataset_builder", opened)
    with suppress(error or ()):
        for number, row in enumerate(hub.hub_rows("me/mine", "train")):
            assert row.values["text"] == ("one", "two")[number]
            if error is not None:
                raise error
    assert rooms and not rooms[0].exists()


@pytest.mark.parametrize("own", [False, True])
def test_a_dataset_of_the_hub_is_read_only_where_it_holds_its_data_itself(own: bool) -> None:
    from xpert.data import hub

    files = {"train": ["hf://datasets/me/mine@1/a.h5" if own else "hf://datasets/other/x@1/a.parquet"]}
    builder = type("Builder", (), {"config": type("Config", (), {"data_files": files})()})
    builder.__module__ = f"datasets.packaged_modules.{'hdf5.hdf5' if own else 'parquet.parquet'}"
    found = type("Info", (), {"id": "me/mine"})()
    with pytest.raises(DataError, match="in a format that is not read" if own else "names files outside of it"):
        hub._check_builder(builder(), found)
