"""Collections of pictures: folders with metadata, Parquet rows of bytes and paths, saved datasets.

Most of them name a place where no picture may come from.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

from fuzz import samples
from fuzz.cases import BrokenLawError, Case
from fuzz.guard import Bait
from fuzz.mutations import TEXTS, dumps, hostile, misspell, mutate_bytes, mutate_json
from fuzz.pictures import check_picture, make_picture
from fuzz.samples import mine


def prepare(room: Path) -> Any:
    """A folder, a Parquet file and a saved dataset, each opened once."""
    import datasets

    rng, shared = random.Random(0), {"saved": room / "saved", "png": _png()}
    folder = room / "folder"
    samples.write(folder / "a.png", shared["png"])
    samples.write(folder / "metadata.jsonl", '{"file_name": "a.png", "text": "a"}\n')
    rows = datasets.Dataset.from_dict({"image": [{"bytes": shared["png"], "path": "a.png"}], "text": ["a"]})
    rows.cast_column("image", datasets.Image()).save_to_disk(str(room / "saved"))
    parquet = samples.write(room / "me.parquet", _parquet(rng, [{"bytes": shared["png"], "path": None}]))
    for source in (folder, parquet, shutil.copytree(room / "saved", room / "first")):
        read(Case(source, "first"), shared)
    return shared


def make(rng: random.Random, folder: Path, shared: Any, bait: Bait) -> Case:
    """One collection."""
    return rng.choice((_rows, _rows, _rows, _metadata, _metadata, _saved, _mixed))(rng, folder, shared, bait)


def _png() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.frombytes("RGB", (4, 4), bytes(range(48))).save(stream, "PNG")
    return stream.getvalue()


def _addresses(rng: random.Random, source: Path, bait: Bait) -> Any:
    """Where a picture must not come from."""
    port, secret = bait.port, bait.folder / "picture.png"
    return rng.choice(
        (str(secret), f"file://{secret}", os.path.relpath(secret, source), f"http://127.0.0.1:{port}/a.png",
        f"https://127.0.0.1:{port}/a.png",
         f"ftp://127.0.0.1:{port}/a.png", f"zip://a.png::http://127.0.0.1:{port}/a.zip", f"zip://a.png::{secret}",
         f"s3://127.0.0.1:{port}/a.png",
         "hf://datasets/a/b/a.png", str(bait.folder / "pipe"), "/dev/zero", "/etc/hostname", "~/a.png", "", ".", "..",
         "a\0b", "nobody.png", 7, None,
         f"filecache::http://127.0.0.1:{port}/a.png", f"simplecache::file://{secret}", "data:image/png;base64,AAAA",
         "memory://a.png", f"//127.0.0.1:{port}/a",
         f"tar://a.png::{secret}", f"http://127.0.0.1:{port}/a\x1b[31m.png", "\\\\127.0.0.1\\a.png", f"git://{secret}",
         f"local://{secret}", "github://a:b@c/d", *TEXTS[:6])
    )  # fmt: skip


def _rows(rng: random.Random, folder: Path, shared: Any, bait: Bait) -> Case:
    """A Parquet file, alone or in a folder."""
    alone = rng.random() < 0.5
    source = folder / "me.parquet" if alone else folder / "data"
    rows: list[Any] = []
    for _ in range(rng.randrange(1, 4)):
        picture = rng.choice((shared["png"], shared["png"], make_picture(rng)[1], b"", None))
        path = _addresses(rng, source, bait) if rng.random() < 0.6 else rng.choice(("a.png", None))
        rows.append({"bytes": picture if rng.random() < 0.5 else None, "path": None if path is None else str(path)})
    if rng.random() < 0.1:
        rows = rng.choice(
            ([row["path"] for row in rows], [row["bytes"] for row in rows], [7] * len(rows), [[row] for row in rows])
        )
    raw = _parquet(rng, rows)
    if rng.random() < 0.25:
        raw = mutate_bytes(rng, raw)
    samples.write(
        source
        if alone
        else source / rng.choice(("train.parquet", "train-00000-of-00001.parquet", "data/train.parquet")),
        raw,
    )
    return Case(source, f"Parquet rows of pictures{'' if alone else ' in a folder'}")


def _parquet(rng: random.Random, rows: list[Any]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    captions: list[Any] = [mine(rng) for _ in rows]
    if rng.random() < 0.15:
        captions[0] = rng.choice(("", None, " ", "a" * 5000))
    table = pa.table(
        {
            "image": pa.array(rows),
            "text": rng.choice((captions, [[c] for c in captions])) if rng.random() < 0.1 else captions,
        }
    )
    if rng.random() < 0.3:
        feature = rng.choice(
            (
                '{"_type": "Image"}',
                '{"_type": "Image", "decode": 7}',
                '{"_type": "Audio"}',
                '{"_type": "Nobody"}',
                '{"_type": "Video"}',
                "7",
                '"x"',
            )
        )
        said = f'{{"info": {{"features": {{"image": {feature}, "text": {{"dtype": "string", "_type": "Value"}}}}}}}}'
        table = table.replace_schema_metadata({"huggingface": said})
    stream = io.BytesIO()
    parquet.write_table(table, stream)
    return stream.getvalue()


def _metadata(rng: random.Random, folder: Path, shared: Any, bait: Bait) -> Case:
    """Pictures with a file that names them."""
    source = folder / "data"
    names = ["a.png", "b.png", "sub/c.jpg"][: rng.randrange(1, 4)]
    rows: list[dict[str, Any]] = []
    for name in names:
        samples.write(source / name, shared["png"] if rng.random() < 0.7 else make_picture(rng)[1])
        rows.append({"file_name": name, "text": mine(rng)})
    if rng.random() < 0.7:
        rng.choice(rows)["file_name"] = _addresses(rng, source, bait)
    if rng.random() < 0.2:
        rows = mutate_json(rng, rows)
    if rng.random() < 0.25:
        odd = source / rng.choice(("z.png", "metadata.csv", names[0]))
        odd.unlink(missing_ok=True)
        odd.symlink_to(
            rng.choice(
                (bait.folder / "picture.png", bait.folder / "pipe", Path("/dev/zero"), bait.folder / "secret.txt")
            )
        )
    elif rng.random() < 0.1:
        os.mkfifo(source / "z.png")
    text = "".join(dumps(row) + "\n" for row in rows) if isinstance(rows, list) else dumps(rows)
    if rng.random() < 0.3 and isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        stream = io.StringIO()
        writer = csv.writer(stream)
        writer.writerow(["file_name", "text"])
        writer.writerows([str(row.get("file_name")).replace("\0", ""), row.get("text")] for row in rows)
        samples.write(
            source / "metadata_.csv" if (source / "metadata.csv").is_symlink() else source / "metadata.csv",
            stream.getvalue(),
        )
        return Case(source, "metadata.csv")
    samples.write(source / "metadata.jsonl", misspell(rng, text) if rng.random() < 0.15 else text)
    return Case(source, "metadata.jsonl")


def _saved(rng: random.Random, folder: Path, shared: Any, bait: Bait) -> Case:
    """A saved dataset of pictures with a small file changed."""
    source = folder / "data"
    shutil.copytree(shared["saved"], source)
    file = source / rng.choice(("state.json", "dataset_info.json"))
    stated = json.loads(file.read_text())
    if file.name == "state.json" and rng.random() < 0.7:
        stated["_data_files"] = [{"filename": _addresses(rng, source, bait)}]
    else:
        stated = mutate_json(rng, stated)
    file.write_text(dumps(stated), "utf-8", "surrogatepass")
    return Case(source, f"saved pictures: {file.name}")


def _mixed(rng: random.Random, folder: Path, shared: Any, bait: Bait) -> Case:
    """Pictures in folders of splits or classes, with cards and other files beside them."""
    source = folder / "data"
    for name in rng.sample(
        ("train/a.png", "test/a.png", "a.png", "cat/a.png", "dog/b.png", ".hidden.png", "__x/a.png"), 3
    ):
        samples.write(source / name, shared["png"])
    if rng.random() < 0.5:
        samples.write(
            source / "README.md",
            "---\nconfigs:\n- config_name: default\n  data_files: "
            + json.dumps(str(_addresses(rng, source, bait)))
            + "\n---\n",
        )
    if rng.random() < 0.5:
        samples.write(
            source / rng.choice(("metadata.parquet", "a.txt", "data.csv", "dataset_infos.json", "a.zip", "a.tar")),
            dumps(hostile(rng)),
        )
    return Case(source, "folders of pictures")


def read(case: Case, _shared: Any) -> None:
    """Open a collection twice, as a person's pictures; every picture is decoded twice."""
    from xpert.data.pictures import open_pictures

    first, second = (open_pictures(str(case.source), need_captions=False) for _ in range(2))
    if first.digest != second.digest:
        raise BrokenLawError("reads otherwise the second time", case.how)
    for number in range(len(first)):
        picture = first.picture(number)
        check_picture(picture)
        if first.picture(number).tobytes() != picture.tobytes():
            raise BrokenLawError("decodes otherwise the second time", case.how)
        caption = first.caption(number)
        samples.check_texts(*(caption if isinstance(caption, list) else [caption]))
