"""Captions come from a file, from the base's own list, or from the package."""

import csv
import json
import os
from pathlib import Path

import pytest

from xpert.errors import DataError, SettingsError
from xpert.probing.captions import PACKAGED, captions_for, default_captions


def test_the_package_has_fifty_of_its_own() -> None:
    assert len(set(default_captions())) == 50
    assert captions_for("no/base", None) == captions_for("no/base", PACKAGED) == default_captions()
    assert captions_for("no/base", None, 3) == default_captions()[:3]


def test_a_base_with_a_list_of_its_own_is_asked_that(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a circle\n\na star\n")
    assert captions_for(str(tmp_path), None) == ("a circle", "a star")
    assert captions_for(str(tmp_path), PACKAGED, 1) == default_captions()[:1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "a cat\na dog\n"),
        ("a.jsonl", '{"caption": ["a cat", "another cat"]}\n{"text": "a dog"}\n'),
        ("a.csv", "caption,other\na cat,1\na dog,2\n"),
    ],
)
def test_files_of_three_kinds(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert captions_for("no/base", str(tmp_path / name)) == ("a cat", "a dog")


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_a_caption_may_hold_what_unicode_calls_a_line_end(tmp_path: Path, name: str) -> None:
    caption = "a cat\u2028on\x85a mat"
    line = json.dumps({"text": caption}, ensure_ascii=False) if name == "a.jsonl" else caption
    (tmp_path / name).write_text(f"{line}\n{line}\n", "utf-8")
    assert captions_for("no/base", str(tmp_path / name)) == (caption, caption)


def test_what_cannot_be_captions_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def file(name: str, content: str) -> str:
        (tmp_path / name).write_text(content)
        return str(tmp_path / name)

    with pytest.raises(DataError, match="row 2 has no caption"):
        captions_for("b", file("a.jsonl", '{"text": "a cat"}\n{"other": 1}\n'))
    with pytest.raises(DataError, match="b.jsonl, row 1: broken JSON"):
        captions_for("b", file("b.jsonl", "nonsense\n"))
    with pytest.raises(DataError, match="holds no captions"):
        captions_for("b", file("c.txt", "\n"))
    with pytest.raises(DataError, match="holds 1 captions, 5 are wanted"):
        captions_for("b", file("d.txt", "a cat\n"), 5)
    with pytest.raises(SettingsError, match="give 1 or more"):
        captions_for("b", None, 0)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="xpert/captions for the 50"):
        captions_for("b", "nobody/no-captions")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
def test_captions_are_read_from_regular_files_only(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError):
        captions_for("b", str(tmp_path / name))


def test_a_mark_at_the_start_of_a_file_hides_nothing(tmp_path: Path) -> None:
    for name, content in (
        ("a.csv", "caption,other\na cat,1\n"),
        ("a.txt", "a cat\n"),
        ("a.jsonl", '{"text": "a cat"}\n'),
    ):
        (tmp_path / name).write_text(content, "utf-8-sig")
        assert captions_for("no/base", str(tmp_path / name)) == ("a cat",)


def test_a_table_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("caption\nein Kätzchen\n".encode("latin-1"))
    (tmp_path / "long.csv").write_text("caption\n" + "x" * 200_000 + "\n")
    usual = csv.field_size_limit(131_072)  # other libraries raise it for the whole process
    try:
        for name in ("latin.csv", "long.csv"):
            with pytest.raises(DataError, match=f"{name} cannot be read as CSV in UTF-8"):
                captions_for("no/base", str(tmp_path / name))
    finally:
        csv.field_size_limit(usual)
