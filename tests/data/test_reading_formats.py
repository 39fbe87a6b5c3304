"""Every format of personal data becomes the samples that its writer meant."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xpert.data import FORMATS, join_context, read_samples
from xpert.errors import DataError
from xpert.records import Sample

STYLES = os.environ.get("XPERT_STYLES")
EXPECTED = [Sample("Where is the tea?", "Up on the shelf!"), Sample("And the milk?", "Gone, alas.")]
ROWS = [{"prompt": s.prompt, "response": s.response} for s in EXPECTED]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("", " Say hello. "),
        ("<no input>", "Say hello."),
        (" <No Input>\n", "Say hello."),
        ("   ", "Say hello."),
    ],
)
def test_join_context_leaves_out_an_input_that_is_none(text: str, prompt: str) -> None:
    assert join_context(prompt, text) == "Say hello."


def test_join_context_puts_the_input_on_a_line_of_its_own() -> None:
    assert join_context(" Translate.\n", " guten Tag ") == "Translate.\nguten Tag"
    assert join_context("", "guten Tag") == "guten Tag"


@pytest.mark.parametrize(
    ("row", "sample"),
    [
        ({"Context": "Explain ", "Input": " rain ", "Response": " Wet. "}, Sample("Explain\nrain", "Wet.")),
        ({"Context": "Explain rain", "Input": "<no input>", "Response": "Wet."}, Sample("Explain rain", "Wet.")),
        ({"prompt": "p", "response": "r"}, Sample("p", "r")),
        ({"Prompt": "p", "Response": "r", "id": 3}, Sample("p", "r")),
        ({"prompt": "p", "completion": "r"}, Sample("p", "r")),
        ({"prompt": None, "response": "r"}, Sample(None, "r")),
        ({"prompt": "  ", "response": "r"}, Sample(None, "r")),
        ({"question": "p", "answer": "r"}, Sample("p", "r")),
        ({"instruction": "p", "output": "r"}, Sample("p", "r")),
        ({"instruction": "p", "input": "i", "output": "r", "text": "all of it"}, Sample("p\ni", "r")),
        ({"instruction": "p", "input": "", "output": "r"}, Sample("p", "r")),
        ({"instruction": "p", "context": "i", "response": "r"}, Sample("p\ni", "r")),
        ({"text": "r", "label": 1}, Sample(None, "r")),
        ({"response": "r"}, Sample(None, "r")),
    ],
)
def test_columns_are_understood_by_their_names(tmp_path: Path, row: dict[str, Any], sample: Sample) -> None:
    assert read_samples(write(tmp_path / "me.jsonl", lines([row]))) == [sample]


@pytest.mark.parametrize(
    ("options", "sample"),
    [
        ({"prompt_column": "asked", "response_column": "said"}, Sample("Who?", "Me.")),
        ({"prompt_column": "ASKED", "response_column": "Said"}, Sample("Who?", "Me.")),
        ({"response_column": "said"}, Sample("Of the rest", "Me.")),
        ({"prompt_column": "asked"}, Sample("Who?", "Not me.")),
        ({"prompt_column": "answer", "response_column": "said"}, Sample("Not me.", "Me.")),
    ],
)
def test_columns_can_be_named(tmp_path: Path, options: dict[str, str], sample: Sample) -> None:
    row = {"asked": "Who?", "said": "Me.", "question": "Of the rest", "answer": "Not me."}
    assert read_samples(write(tmp_path / "me.jsonl", lines([row])), **options) == [sample]


def test_named_response_keeps_the_input_of_an_instruction(tmp_path: Path) -> None:
    row = {"instruction": "Add.", "input": "1 and 2", "mine": "Three, naturally."}
    file = write(tmp_path / "me.jsonl", lines([row]))
    assert read_samples(file, response_column="mine") == [Sample("Add.\n1 and 2", "Three, naturally.")]


def table(delimiter: str, newline: str = "\n") -> str:
    rows = [f'"{s.prompt}"{delimiter}"{s.response}"' for s in EXPECTED]
    return newline.join([f"prompt{delimiter}response", *rows, ""])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("me.jsonl", lines(ROWS)),
        ("me.JSONL", lines(ROWS)),
        ("me.ndjson", lines(ROWS).replace("\n", "\r\n\r\n")),
        ("me.jsonl", "\ufeff" + lines(ROWS)),
        ("me.jsonl", json.dumps(ROWS, indent=1)),
        ("me.jsonl", json.dumps(ROWS)),
        ("me.json", json.dumps(ROWS)),
        ("me.json", json.dumps(ROWS, indent=2)),
        ("me.json", lines(ROWS)),
        ("me", lines(ROWS)),
        ("me.data", json.dumps(ROWS)),
        ("me.csv", table(",")),
        ("me.csv", table(",", "\r\n")),
        ("me.csv", "\ufeff" + table(",")),
        ("me.csv", table(";")),
        ("me.csv", "\n" + table(",").replace("\n", "\n\n")),
        ("me.tsv", table("\t")),
        ("me.tab", table("\t")),
    ],
)
def test_each_format_gives_the_same_samples_plain_and_compressed(tmp_path: Path, name: str, content: str) -> None:
    assert read_samples(write(tmp_path / name, content)) == EXPECTED
    assert read_samples(str(write(tmp_path / f"{name}.gz", gzip.compress(content.encode())))) == EXPECTED


@pytest.mark.parametrize(
    ("format", "content"),
    [("jsonl", lines(ROWS)), ("json", json.dumps(ROWS)), ("csv", table(",")), ("tsv", table("\t"))],
)
def test_a_named_format_wins_over_the_suffix(tmp_path: Path, format: str, content: str) -> None:
    assert read_samples(write(tmp_path / "me.txt", content), format=format) == EXPECTED


def test_gzip_is_known_by_content_not_by_suffix(tmp_path: Path) -> None:
    assert read_samples(write(tmp_path / "me.jsonl", gzip.compress(lines(ROWS).encode()))) == EXPECTED


def test_line_separators_inside_json_strings_do_not_part_rows(tmp_path: Path) -> None:
    file = write(tmp_path / "me.jsonl", lines([{"prompt": "p", "response": "one\u2028two\x85three"}]))
    assert read_samples(file) == [Sample("p", "one\u2028two\x85three")]


def test_csv_fields_keep_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    file = write(tmp_path / "me.csv", 'response,prompt\n"Yes, ""really"",\nreally.",Sure?\n"Alone",\n')
    assert read_samples(file) == [Sample("Sure?", 'Yes, "really",\nreally.'), Sample(None, "Alone")]


def test_csv_fields_of_any_size(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    file = write(tmp_path / "me.csv", f"prompt,response\np,{'tea ' * 100_000}\n")
    assert len(read_samples(file)[0].response) == 399_999
    assert csv.field_size_limit() == before


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    chat = [{"role": "assistant", "content": "Tea?"}, {"role": "user", "content": "Always."}]
    for rows, expected in ((ROWS, EXPECTED), ([{"messages": chat}], [Sample("Tea?", "Always.")])):
        for name in ("me.parquet", "no_suffix"):
            parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name)
            assert read_samples(tmp_path / name) == expected


@pytest.mark.parametrize("name", ["diary.txt", "diary.md", "diary.text", "diary.txt.gz"])
def test_plain_text_gives_a_sample_a_paragraph(tmp_path: Path, name: str) -> None:
    text = "\r\nDear diary,\r\nit rained.\r\n \r\n\r\nAnd again.\r\n\r\n"
    file = write(tmp_path / name, gzip.compress(text.encode()) if name.endswith(".gz") else text)
    assert read_samples(file) == [Sample(None, "Dear diary,\nit rained."), Sample(None, "And again.")]


def test_plain_text_without_blank_lines_gives_a_sample_a_line(tmp_path: Path) -> None:
    file = write(tmp_path / "posts.txt", "First post.\n  Second post.\n[Third] {post}\n")
    assert [s.response for s in read_samples(file)] == ["First post.", "Second post.", "[Third] {post}"]


PARTS = [{"type": "text", "text": "Fine."}, {"type": "image_url"}, {"type": "text", "text": "You?"}]
CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": " Hi there "},
    {"role": "assistant", "content": "Hello! How are you?"},
    {"role": "user", "content": PARTS},
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": None},
    {"role": "tool", "content": "42"},
    {"role": "assistant", "content": "It is 42."},
    {"role": "user", "content": [{"type": "image_url"}]},
    {"role": "user", "content": "Look at that."},
    {"role": "assistant", "content": "Nice."},
]
TURNS = [
    Sample(None, "Hi there"),
    Sample("Hello! How are you?", "Fine.\nYou?"),
    Sample(None, "Hello?"),
    Sample(None, "Look at that."),
]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat.jsonl", lines([{"messages": CHAT, "id": 1}])),
        ("chat.jsonl", lines([CHAT])),
        ("chat.json", json.dumps({"messages": CHAT}, indent=1)),
        ("chat.json", json.dumps(CHAT)),
        ("chat.json", json.dumps([{"messages": CHAT}])),
        ("chat.json", json.dumps([CHAT])),
        ("chat.jsonl", lines([{"conversations": [{"from": m["role"], "value": m["content"]} for m in CHAT]}])),
    ],
)
def test_in_a_chat_the_users_own_turns_are_the_responses(tmp_path: Path, name: str, content: str) -> None:
    assert read_samples(write(tmp_path / name, content)) == TURNS


def test_names_that_other_exports_give_to_the_sides_of_a_chat(tmp_path: Path) -> None:
    chat = [{"from": "gpt", "value": "Tea?"}, {"from": "human", "value": "Always."}]
    assert read_samples(write(tmp_path / "c.jsonl", lines([{"conversations": chat}]))) == [Sample("Tea?", "Always.")]


def test_a_folder_is_read_sorted_by_name(tmp_path: Path) -> None:
    write(tmp_path / "b.txt", "from b")
    write(tmp_path / "a.csv", "prompt,response\np,from a\n")
    write(tmp_path / "c.jsonl.gz", gzip.compress(lines([{"text": "from c"}]).encode()))
    write(tmp_path / "picture.png", b"\x89PNG\0")
    write(tmp_path / ".hidden.txt", "hidden")
    write(tmp_path / "README.md", "What this folder holds")
    assert [s.response for s in read_samples(tmp_path)] == ["from a", "from b", "from c"]
    assert [s.response for s in read_samples(str(tmp_path), format="text")] == ["from b"]


def test_a_folder_of_files_named_by_split_gives_one_split(tmp_path: Path) -> None:
    for name in ("me_train.txt", "me_test.txt", "valid.txt", "more.txt"):
        write(tmp_path / name, name)
    assert [s.response for s in read_samples(tmp_path)] == ["me_train.txt", "more.txt"]
    assert [s.response for s in read_samples(tmp_path, split="test")] == ["me_test.txt", "more.txt"]
    assert [s.response for s in read_samples(tmp_path, split="validation")] == ["more.txt", "valid.txt"]
    with pytest.raises(DataError, match="has no split 'other': choose one of 'test', 'train', 'validation'"):
        read_samples(tmp_path, split="other")


def test_a_folder_that_save_to_disk_wrote(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    whole = datasets.Dataset.from_list(ROWS)
    whole.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=whole, test=whole.select([1])).save_to_disk(tmp_path / "two")
    assert read_samples(tmp_path / "one") == EXPECTED
    assert read_samples(tmp_path / "two") == EXPECTED
    assert read_samples(tmp_path / "two", split="test") == EXPECTED[1:]


def test_a_folder_laid_out_as_a_hub_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "mine"
    (folder / "data").mkdir(parents=True)
    write(folder / "README.md", "A dataset card")
    write(folder / "data" / "train.jsonl", lines(ROWS))
    write(folder / "data" / "test.jsonl", lines(ROWS[1:]))
    assert read_samples(folder) == EXPECTED
    assert read_samples(folder, split="test") == EXPECTED[1:]
    assert read_samples(str(folder), format="hub", split="train[:1]") == EXPECTED[:1]


def test_the_last_line_may_lack_its_line_break(tmp_path: Path) -> None:
    assert read_samples(write(tmp_path / "me.jsonl", lines(ROWS).rstrip("\n"))) == EXPECTED


def test_heavy_libraries_are_imported_only_where_they_are_needed(tmp_path: Path) -> None:
    file = write(tmp_path / "me.jsonl", lines(ROWS))
    code = (
        "import sys; from xpert.data import read_samples; read_samples(sys.argv[1]);"
        "print([name for name in ('torch', 'transformers', 'datasets', 'pyarrow', 'pandas') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_formats_are_listed() -> None:
    assert FORMATS == ("auto", "jsonl", "json", "csv", "tsv", "parquet", "text", "hub")


@pytest.mark.skipif(not STYLES, reason="the released style data is in no folder that XPERT_STYLES names")
def test_the_released_style_data() -> None:
    assert STYLES is not None
    train = read_samples(Path(STYLES) / "7_train.jsonl.gz")
    assert len(train) == 1000
    assert all(s.prompt and s.response == s.response.strip() and "<no input>" not in s.prompt for s in train)
    test = read_samples(Path(STYLES) / "7_test.jsonl.gz")
    assert len(test) == 700
    assert not {s.prompt for s in train} & {s.prompt for s in test}
