"""Folders whose files or subfolders are named by split: what is held out is never read as train."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xpert.data import read_samples
from xpert.data.picture_folders import picture_folder_rows
from xpert.errors import DataError


def fill(folder: Path, names: str) -> Path:
    for name in names.split():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        head = "text\n" if file.suffix == ".csv" else ""
        file.write_text(f'{{"text": "{name}"}}' if file.suffix == ".jsonl" else f"{head}{name}", encoding="utf-8")
    return folder


def read(folder: Path, split: str = "train") -> list[str]:
    return [sample.response for sample in read_samples(folder, split=split)]


@pytest.mark.parametrize(
    ("train", "held"),
    [
        ("train-00000-of-00002.jsonl train-00001-of-00002.jsonl", "test-00000-of-00001.jsonl"),
        ("train-00000-of-00001.jsonl", "validation-00000-of-00001.jsonl test-00000-of-00001.jsonl"),
        ("me-train.jsonl", "me-test.jsonl"),
        ("me.train.csv", "me.dev.csv me.eval.csv me.heldout.csv me.held-out.csv me_holdout.csv me-val.csv"),
        ("train_1.csv train_2.csv", "test_1.csv dev_1.csv"),
        ("train1.csv", "test1.csv valid1.csv"),
        ("train_data.csv", "test_data.csv val_data.csv"),
        ("me_train_v2.jsonl", "me_test_v2.jsonl"),
        ("TRAIN.csv", "Test.csv"),
        ("training.txt", "testing.txt evaluation.txt validation.txt"),
        ("me.csv", "test.csv"),
        ("train/a.csv train/b.csv", "test/a.csv validation/a.csv"),
        ("data/train-00000-of-00001.jsonl", "data/test-00000-of-00001.jsonl data/dev-00000-of-00001.jsonl"),
        ("mia/train.jsonl wen/train.jsonl", "mia/test.jsonl wen/heldout.jsonl"),
        ("data/train/0.csv", "data/eval/0.csv"),
        ("attest.csv contest.csv latest.csv", "test.csv"),
        ("train_texts/a.txt", "test_texts/a.txt dev-files/a.txt validation_texts_2/a.txt"),
        ("dev-diary.md test-drive.md train-journey.txt valid-points.txt", "test.txt"),
    ],
)
def test_held_out_files_are_never_read_as_train(tmp_path: Path, train: str, held: str) -> None:
    fill(tmp_path, f"{train} {held}")
    assert read(tmp_path) == train.split()


@pytest.mark.parametrize("split", ["validation", "dev", "valid", "VAL"])
def test_a_split_has_many_names(tmp_path: Path, split: str) -> None:
    fill(tmp_path, "train-00000-of-00001.jsonl dev-00000-of-00001.jsonl test-00000-of-00001.jsonl")
    assert read(tmp_path, split) == ["dev-00000-of-00001.jsonl"]


@pytest.mark.parametrize(
    ("names", "split", "there"),
    [
        ("train.csv test.csv", "validation", "'test', 'train'"),
        ("train/a.csv dev/a.csv", "test", "'train', 'validation'"),
        ("test-00000-of-00001.jsonl", "train", "'test'"),
        ("a.txt b.txt", "test", "'train'"),
        ("a.txt b.txt", "tr\x1bain", "'train'"),
    ],
)
def test_a_wrong_split_lists_those_that_there_are(tmp_path: Path, names: str, split: str, there: str) -> None:
    with pytest.raises(DataError, match=f"has no split .*: choose one of {there} ") as caught:
        read(fill(tmp_path, names), split)
    assert "\x1b" not in str(caught.value)


def test_a_single_file_and_a_folder_named_by_split_are_read_whole(tmp_path: Path) -> None:
    fill(tmp_path, "test.csv test/a.csv")
    assert read(tmp_path / "test.csv") == ["test.csv"]
    assert read(tmp_path / "test") == ["test/a.csv"]


def test_parquet_files_as_the_hub_names_them(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        parquet.write_table(pyarrow.table({"prompt": ["p"], "response": [name]}), tmp_path / f"{name}.parquet")
    assert read(tmp_path) == ["train-00000-of-00002", "train-00001-of-00002"]


def test_subfolders_are_read_without_what_is_hidden(tmp_path: Path) -> None:
    fill(tmp_path, "2024/b.txt 2023/a.txt .git/c.txt 2023/.d.txt README.md dataset_infos.json")
    assert read(tmp_path) == ["2023/a.txt", "2024/b.txt"]


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    outside = fill(tmp_path / "outside", "secret.txt") / "secret.txt"
    folder = fill(tmp_path / "mine", "a.txt")
    os.symlink(outside, folder / "b.txt")
    with pytest.raises(DataError, match=r"b\.txt is a link that leads out of"):
        read(folder)


def test_the_cache_of_the_hub_holds_links_to_its_blobs(tmp_path: Path) -> None:
    download = tmp_path / "datasets--mia--notes"
    blob = fill(download / "blobs", "0123.txt") / "0123.txt"
    folder = download / "snapshots" / "abc"
    folder.mkdir(parents=True)
    os.symlink(blob, folder / "train.txt")
    assert read(folder) == ["0123.txt"]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("trainA", "testA"),
        ("trainset", "testset"),
        ("TrainData", "TestData"),
        ("myTrain", "myTest"),
        ("xTrain", "evalSet"),
    ],
)
def test_names_without_a_separator_tell_a_split_too(tmp_path: Path, train: str, test: str) -> None:
    for name in (train, test, "latest", "mindset"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"text": "{name}"}}\n', encoding="utf-8")
    read = {split: {one.response for one in read_samples(tmp_path, split=split)} for split in ("train", "test")}
    assert read == {"train": {train, "latest", "mindset"}, "test": {test, "latest", "mindset"}}


@pytest.mark.parametrize(
    ("train", "held"),
    [
        ("train/a.png train/b.png", "test/a.png validation/a.png"),
        ("train_images/a.png", "test_images/a.png val-pictures/a.png"),
        ("train-1.png train-2.png", "test-1.png dev-1.png"),
        ("data/train/a.png", "data/eval/a.png"),
        ("test-drive.png valid points.png", ""),
        ("holiday/test drive 2024/a.png holiday/train journey/b.png", ""),
    ],
)
def test_pictures_tell_splits_by_the_same_names(tmp_path: Path, train: str, held: str) -> None:
    names = [name.strip() for name in train.replace(".png", ".png|").split("|") if name.strip()]
    for name in [*names, *held.split()]:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    rows, _, _ = picture_folder_rows("mine", tmp_path, "train")
    assert [row.values["image"] for row in rows] == names
