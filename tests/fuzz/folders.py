"""Folders of data: split names, READMEs that point elsewhere, saved datasets whose small files lie, links, scripts."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

from fuzz import samples
from fuzz.cases import Case
from fuzz.guard import Bait
from fuzz.mutations import PLANTED_MODULE, dumps, hostile, mutate_bytes, mutate_json
from fuzz.samples import mark, mine, read_twice

_SPLITS = ("train", "test", "validation", "dev", "valid")


def prepare(room: Path) -> Any:
    """Folders that `save_to_disk` wrote."""
    import datasets

    made = datasets.Dataset.from_dict({"prompt": ["p", "q"], "response": ["r", "s"]})
    made.save_to_disk(str(room / "one"))
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(str(room / "several"))
    for number, name in enumerate(("one", "several", "plain")):
        target = room / f"first-{number}"
        if name == "plain":
            samples.write(target / "data" / "train.jsonl", _lines("a"))
        else:
            shutil.copytree(room / name, target)
        read_twice(Case(target, "first"))
    return room


def make(rng: random.Random, folder: Path, shared: Any, bait: Bait) -> Case:
    """One folder."""
    source = folder / "data"
    source.mkdir()
    way = rng.choice((_splits, _splits, _readme, _readme, _saved, _saved, _links, _scripts, _nested))
    return way(rng, source, shared, bait)


def _lines(*texts: str) -> str:
    return "".join(json.dumps({"prompt": "p", "response": text}) + "\n" for text in texts)


def _splits(rng: random.Random, source: Path, _shared: Any, _bait: Bait) -> Case:
    """Names by which files belong to a split: as people write them, and as the hub does."""
    form = rng.choice(
        ("{}.jsonl", "me_{}.jsonl", "{}-00000-of-00001.jsonl", "x-{}.jsonl", "{}-00000-of-00001-abc123.jsonl")
    )
    own: list[str] = []
    for split in (*rng.sample(_SPLITS[:3], rng.randrange(2, 4)), "train"):
        text = mine(rng)
        if split == "train":
            own = [mark(text)]
        else:
            text = samples.theirs(rng)  # a text of another split is not to be read
        samples.write(source / form.format(split), _lines(text))
    if rng.random() < 0.2:
        samples.write(source / rng.choice((".hidden.jsonl", "\x1b[31m.jsonl", "\u202e.jsonl", "a\nb.jsonl")), "{broken")
        return Case(source, f"splits named {form}: odd names")
    return Case(source, f"splits named {form}", {"authors": True, "own": own})


def _readme(rng: random.Random, source: Path, _shared: Any, bait: Bait) -> Case:
    """A card whose front matter says which files are data."""
    inside = samples.write(source / "data" / "train.jsonl", _lines(mine(rng)))
    where = rng.choice(
        (str(bait.folder / "data.jsonl"), os.path.relpath(bait.folder / "data.jsonl", source),
        f"file://{bait.folder}/data.jsonl",
         f"http://127.0.0.1:{bait.port}/x.jsonl", f"ftp://127.0.0.1:{bait.port}/x.jsonl",
         "hf://datasets/a/b@main/x.jsonl",
         f"zip://x.jsonl::http://127.0.0.1:{bait.port}/x.zip", f"{bait.folder}/*.jsonl", "data/*.jsonl",
         "**/../../../**", "data/train.jsonl",
         str(bait.folder / "pipe"), "/dev/zero", "/etc/hostname", "~/x.jsonl", 7, [["a"]], {"split": "train",
         "path": str(bait.folder / "data.jsonl")},
         {"split": "train", "path": [str(bait.folder / "data.jsonl"), "data/train.jsonl"]},
         f"s3://127.0.0.1:{bait.port}/x", "github://a:b@main/x")
    )  # fmt: skip
    import yaml

    config: dict[str, Any] = {"configs": [{"config_name": "default", "data_files": where}]}
    if rng.random() < 0.3:
        config["configs"][0] |= {"data_dir": rng.choice((str(bait.folder), "../..", "data", "/etc")), "default": True}
    if rng.random() < 0.2:
        config |= {"dataset_info": hostile(rng), "builder": PLANTED_MODULE}
    front = yaml.safe_dump(config) if rng.random() < 0.9 else dumps(mutate_json(rng, config))
    samples.write(source / "README.md", f"---\n{front}\n---\n")
    if rng.random() < 0.4:
        shutil.move(inside, source / "train.jsonl")
    return Case(source, "card that names data files")


def _saved(rng: random.Random, source: Path, shared: Any, bait: Bait) -> Case:
    """A folder of `save_to_disk` with one of its files changed."""
    source.rmdir()
    shutil.copytree(shared / rng.choice(("one", "several")), source)
    small = sorted(file for file in source.rglob("*.json"))
    file = rng.choice(small)
    stated = json.loads(file.read_text())
    if isinstance(stated, dict) and "_data_files" in stated and rng.random() < 0.7:
        target = rng.choice((str(bait.folder / "secret.txt"), str(bait.folder / "pipe"), "/dev/zero",
        "../../../etc/hostname", f"http://127.0.0.1:{bait.port}/x",
                             os.path.relpath(bait.folder / "secret.txt", file.parent), "", ".", "nobody.arrow", 7,
                             f"ftp://127.0.0.1:{bait.port}/x"))  # fmt: skip
        stated["_data_files"] = [{"filename": target}] * rng.choice((1, 2))
    else:
        stated = mutate_json(rng, stated)
    if rng.random() < 0.8:
        file.write_text(dumps(stated), "utf-8", "surrogatepass")
    else:
        arrow = rng.choice(sorted(source.rglob("*.arrow")))
        arrow.write_bytes(mutate_bytes(rng, arrow.read_bytes()))
    return Case(source, f"saved dataset: {file.name}")


def _links(rng: random.Random, source: Path, _shared: Any, bait: Bait) -> Case:
    """Links that lead out of the folder, pipes and devices under the names of data."""
    if rng.random() < 0.6:
        samples.write(source / "a.jsonl", _lines(mine(rng)))
    odd = source / rng.choice(("b.jsonl", "b.txt", "b.csv", "README.md", "train.parquet"))
    way = rng.randrange(7)
    if way == 0:
        os.mkfifo(odd)
    elif way == 6:
        (source / "loop").symlink_to(source)
        odd.symlink_to(odd.name)
    else:
        odd.symlink_to(
            (
                bait.folder / "secret.txt",
                bait.folder / "data.jsonl",
                bait.folder / "pipe",
                Path("/dev/zero"),
                bait.folder,
            )[way - 1]
        )
    return Case(source, f"links and pipes ({way})")


def _scripts(rng: random.Random, source: Path, _shared: Any, _bait: Bait) -> Case:
    """Python beside the data, under the name that a loader once ran."""
    samples.write(source / rng.choice(("a/train.jsonl", "train.jsonl", "a.bin")), _lines(mine(rng)))
    samples.write(
        source / rng.choice(("data.py", "data/data.py", "dataset.py", "__init__.py")), f"import {PLANTED_MODULE}\n"
    )
    samples.write(source / rng.choice(("dataset_infos.json", "dataset_info.json", "state.json")), dumps(hostile(rng)))
    return Case(source, "scripts")


def _nested(rng: random.Random, source: Path, _shared: Any, _bait: Bait) -> Case:
    """Files in folders of splits, of formats that do not belong together."""
    for split in _SPLITS[: rng.randrange(1, 4)]:
        name = rng.choice(("a.jsonl", "a.csv", "a.txt", "a.json", "a.parquet", "a.png"))
        text = _lines(mine(rng)) if "json" in name else f"prompt,response\np,{mine(rng)}\n"
        content = text.encode()
        samples.write(source / split / name, mutate_bytes(rng, content) if rng.random() < 0.3 else content)
    return Case(source, "folders of splits")


def read(case: Case, _shared: Any) -> None:
    """As `samples.read_twice`."""
    read_twice(case)
