"""A person's pictures are opened from what people have, and what cannot be used is named before any work is done."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xpert.data.decoding import MAX_PIXELS, decode_picture
from xpert.data.pictures import STAGE, open_pictures
from xpert.errors import DataError
from xpert.testing.tiny_pictures import tiny_pictures


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_pictures(tmp_path / "mine", count=4)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def write(folder: Path, changed: list[dict[str, Any]]) -> None:
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))


def png(picture: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **more)
    return stream.getvalue()


def test_a_folder_with_metadata_gives_pictures_captions_and_names(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    found = open_pictures(str(folder), on_progress=lambda *news: told.append(news))
    assert len(found) == 4 and told == [(STAGE, done, 4) for done in (1, 2, 3, 4)]
    assert [found.caption(i) for i in range(4)] == [row["text"] for row in rows(folder)]
    assert [found.name(i) for i in range(4)] == [f"00{i}.png" for i in range(4)]
    for i in range(4):
        with Image.open(folder / f"00{i}.png") as plain:
            assert np.array_equal(np.asarray(found.picture(i)), np.asarray(plain.convert("RGB")))
            assert found.size(i) == plain.size


@pytest.mark.parametrize("kind", ["csv", "parquet", "parquet folder", "parquet file", "saved", "saved splits"])
def test_the_same_pictures_are_found_in_every_kind_of_source(kind: str, folder: Path, tmp_path: Path) -> None:
    import datasets
    import pyarrow
    from pyarrow import parquet

    expected, other = open_pictures(str(folder)), tmp_path / "other"
    table = pyarrow.table(
        {
            "image": [{"bytes": (folder / row["file_name"]).read_bytes(), "path": row["file_name"]}
                      for row in rows(folder)],
            "text": [row["text"] for row in rows(folder)],
        }
    )  # fmt: skip
    if kind in ("csv", "parquet"):
        shutil.copytree(folder, other)
        (other / "metadata.jsonl").unlink()
        if kind == "csv":
            lines = ["file_name,text", *(f"{row['file_name']},{row['text']}" for row in rows(folder))]
            (other / "metadata.csv").write_text("\n".join(lines))
        else:
            parquet.write_table(pyarrow.Table.from_pylist(rows(folder)), other / "metadata.parquet")
    elif kind.startswith("parquet"):
        other.mkdir()
        parquet.write_table(table, other / "data.parquet")
        other = other / "data.parquet" if kind == "parquet file" else other
    else:
        whole = datasets.load_dataset("imagefolder", data_dir=str(folder))
        (whole["train"] if kind == "saved" else whole).save_to_disk(str(other))
    found = open_pictures(str(other))
    assert found.digest == expected.digest and len(found) == 4
    assert [found.caption(i) for i in range(4)] == [expected.caption(i) for i in range(4)]
    assert np.array_equal(np.asarray(found.picture(2)), np.asarray(expected.picture(2)))


def test_the_digest_tells_pictures_and_captions_apart(folder: Path, tmp_path: Path) -> None:
    digests = {open_pictures(str(folder)).digest, open_pictures(str(folder), most=3).digest}
    write(folder, [row | {"text": row["text"] + "!"} for row in rows(folder)])
    digests.add(open_pictures(str(folder)).digest)
    digests.add(open_pictures(str(tiny_pictures(tmp_path / "blue", count=4, colour=(0, 0, 200)))).digest)
    assert len(digests) == 4


def test_several_captions_a_picture_and_columns_of_other_names(folder: Path) -> None:
    write(folder, [{"file_name": row["file_name"], "words": ["one", "two"]} for row in rows(folder)])
    found = open_pictures(str(folder), caption_column="words", most=2)
    assert len(found) == 2 and found.caption(1) == ["one", "two"]


def test_captions_may_be_missing_where_none_are_needed(folder: Path) -> None:
    write(folder, [{"file_name": row["file_name"], "text": None if i else "one"} for i, row in enumerate(rows(folder))])
    found = open_pictures(str(folder), need_captions=False)
    assert [found.caption(i) for i in range(4)] == ["one", None, None, None]
    (folder / "metadata.jsonl").unlink()
    plain = open_pictures(str(folder), need_captions=False)
    assert len(plain) == 4 and plain.caption(0) is None


def test_without_captions_the_columns_that_are_there_are_named(folder: Path) -> None:
    (folder / "metadata.jsonl").unlink()
    with pytest.raises(DataError, match=r"no captions: no column 'text'; found 'image': .*caption_column.*metadata"):
        open_pictures(str(folder))


@pytest.mark.parametrize(
    ("value", "words"),
    [("", "row 2: the caption in 'text' is empty"), ("  ", "row 2: .* is empty"), (None, "row 2: .* is empty")],
)
def test_empty_captions_name_their_row(value: str | None, words: str, folder: Path) -> None:
    write(folder, [row | ({"text": value} if i == 1 else {}) for i, row in enumerate(rows(folder))])
    with pytest.raises(DataError, match=words + ".*delete the row"):
        open_pictures(str(folder))


@pytest.mark.parametrize(
    ("value", "words"),
    [(5, "'text' is a number, not text"), ({"a": "b"}, "'text' is an object, not text"), ([], "is empty"),
     (["a", ""], "is empty")],
)  # fmt: skip
def test_captions_of_a_wrong_type_are_refused(value: object, words: str, folder: Path) -> None:
    write(folder, [row | {"text": value} for row in rows(folder)])
    with pytest.raises(DataError, match=f"row 1: .*{words}.*and 1 more of 4"):
        open_pictures(str(folder))


def test_pictures_that_the_metadata_leave_out_are_not_dropped_in_silence(folder: Path) -> None:
    write(folder, rows(folder)[:2])
    with pytest.raises(DataError, match=r"no row for 2 of the pictures \(002.png, 003.png\): add their rows"):
        open_pictures(str(folder))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda file: file.write_bytes(b"not a picture"), "is no picture that can be read"),
        (lambda file: file.write_bytes(file.read_bytes()[:-40]), "is truncated or damaged"),
        (lambda file: file.write_bytes(b""), "is empty"),
        (lambda file: file.unlink(), "there is no such file"),
        (lambda file: file.write_bytes(png(Image.new("CMYK", (8, 8)), "JPEG")), "in CMYK colours.*convert it to sRGB"),
        (lambda file: file.write_bytes(png(Image.new("F", (8, 8)), "TIFF")), "in F colours"),
    ],
)
def test_pictures_that_cannot_be_used_name_file_and_row(damage: Any, words: str, folder: Path) -> None:
    damage(folder / "002.png")
    with pytest.raises(DataError, match=rf"mine, row 3 \(002.png\).*{words}"):
        open_pictures(str(folder))


def test_a_row_with_neither_bytes_nor_path_is_named(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    image = pa.array([{"bytes": None, "path": None}], kind)
    pq.write_table(pa.table({"image": image, "text": ["a picture"]}), tmp_path / "mine.parquet")
    with pytest.raises(DataError, match=r"row 1 holds no picture: fill it in or delete the row"):
        open_pictures(str(tmp_path / "mine.parquet"))


def test_all_faults_are_told_at_once(folder: Path) -> None:
    for file in folder.glob("*.png"):
        file.write_bytes(b"no")
    with pytest.raises(DataError, match=r"row 1 .*; .*row 2 .*; .*row 3 .* \(and 1 more of 4\)"):
        open_pictures(str(folder))


def test_bombs_are_refused_by_their_header() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    for width, height in ((9000, 8000), (100_000, 100_000)):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
        with pytest.raises(DataError, match=f"bomb has .*pixels, at most {MAX_PIXELS} are read: scale it down"):
            decode_picture(bomb, "bomb")


def test_alpha_lies_over_white_and_palettes_and_16_bits_become_rgb() -> None:
    layer = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    layer.putpixel((1, 0), (0, 0, 0, 0))
    assert list(decode_picture(png(layer), "x").getdata()) == [(255, 0, 0), (255, 255, 255)]
    palette = Image.new("RGB", (2, 1), (0, 90, 180)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert decode_picture(png(palette), "x").getpixel((0, 0)) == (0, 90, 180)
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16))
    assert list(decode_picture(png(deep), "x").getdata()) == [(0,) * 3, (100,) * 3, (255,) * 3]
    see_through = png(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3))
    assert decode_picture(see_through, "x").getpixel((0, 0)) == (255, 255, 255)


def test_pictures_are_turned_upright() -> None:
    lying = Image.new("RGB", (4, 2))
    exif = lying.getexif()
    exif[0x0112] = 6
    assert decode_picture(png(lying, "JPEG", exif=exif), "x").size == (2, 4)


def test_what_is_not_there_says_so(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no folder or file .*nothing: check the path"):
        open_pictures(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="cannot be opened as pictures.*folder of pictures with metadata.jsonl"):
        open_pictures(str(tmp_path / "empty"))
    (tmp_path / "empty" / "a.txt").write_text("words")
    with pytest.raises(DataError, match=r"cannot be opened as pictures \(no picture and no Parquet file lies in it\)"):
        open_pictures(str(tmp_path / "empty"))
    with pytest.raises(DataError, match="no split 'test': choose one of 'train'"):
        open_pictures(str(folder), split="test")
    with pytest.raises(DataError, match="no column 'picture' of pictures; found 'image', 'text': .*image_column"):
        open_pictures(str(folder), image_column="picture")
    with pytest.raises(DataError, match="column 'text' holds .*not pictures|there is no such file"):
        open_pictures(str(folder), image_column="text")
    with pytest.raises(DataError, match="is no Parquet file of pictures.*give the folder"):
        open_pictures(str(folder / "000.png"))


def test_broken_metadata_say_so(folder: Path) -> None:
    (folder / "metadata.jsonl").write_text('{"file_name": "000.png", "text": "a"\n')
    with pytest.raises(
        DataError, match="mine cannot be opened as pictures .*metadata.jsonl, row 1: broken JSON at column"
    ):
        open_pictures(str(folder))


def test_a_hub_name_fails_at_once_without_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="'some/pictures' is neither a folder here nor .*HF_HUB_OFFLINE"):
        open_pictures("some/pictures")


def test_an_unreachable_hub_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
    with pytest.raises(DataError, match=r"'some/pictures' is no folder here, and the hub did not give.*HF_HUB_OFFLINE"):
        open_pictures("some/pictures")


def test_the_bars_of_the_library_are_put_back(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import datasets

    datasets.enable_progress_bars()
    open_pictures(str(folder))
    assert not datasets.are_progress_bars_disabled() and capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc")
@pytest.mark.parametrize("place", ["/proc/self/mem", "/proc/self/status", "/proc/version"])
def test_a_file_of_the_system_without_a_size_is_refused(place: str) -> None:
    with pytest.raises(DataError, match="cannot be read|no Parquet file of pictures"):
        open_pictures(place)
