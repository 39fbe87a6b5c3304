"""Data that cannot be read: every error names the file, the row and the way out, and quotes no personal text."""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xpert.data import files, read_samples
from xpert.errors import DataError, SettingsError


def refusal(source: str | Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_samples(source, **options)
    return str(caught.value)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown data format 'xml': choose one of auto, jsonl, json, csv, tsv"):
        read_samples(tmp_path, format="xml")


@pytest.mark.parametrize("kind", [str, Path])
def test_missing_file(tmp_path: Path, kind: type) -> None:
    missing = tmp_path / "none.jsonl"
    assert refusal(kind(missing)) == f"no file or folder {missing}: check the path"
    assert refusal("none.jsonl.gz") == "no file or folder none.jsonl.gz: check the path"
    assert refusal("./none") == "no file or folder none: check the path"
    assert refusal(Path("none")) == "no file or folder none: check the path"
    assert refusal("none", format="csv") == "no file or folder none: check the path"


@pytest.mark.parametrize("source", ["", "  "])
def test_no_source(source: str) -> None:
    assert refusal(source) == "no data source: give a file, a folder or the name of a Hugging Face dataset"


@pytest.mark.parametrize("source", ["x" * 5000, "a\0b.txt", "~no-such-person-here/me.txt"])
def test_what_cannot_be_a_path(source: str) -> None:
    text = refusal(source)
    assert text.startswith(("the data source cannot be looked up as a path", "no file or folder"))


def test_neither_file_nor_folder() -> None:
    assert refusal(os.devnull) == f"{os.devnull} is neither a file nor a folder: write its content to a file first"


@pytest.mark.parametrize("name", ["me.jsonl", "me.json", "me.csv", "me.tsv", "me.txt", "me"])
@pytest.mark.parametrize("content", [b"", b" \r\n\n\t", b"\xef\xbb\xbf"])
def test_empty_file(tmp_path: Path, name: str, content: bytes) -> None:
    file = write(tmp_path / name, content)
    assert refusal(file) == f"{file} is empty: give a file with at least one text"


@pytest.mark.parametrize(
    ("content", "meaning"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "is a binary file (a zero byte at offset 8): give a text file in UTF-8"),
        (b"PK\x03\x04\x14\0", "is a ZIP archive or office document: unpack it, or export its text"),
        (b"%PDF-1.7\n%\xe2\xe3", "is a PDF: export its text as .txt"),
        (b"\xfd7zXZ\x00", "is compressed with xz: unpack it, or compress it with gzip"),
        (b"PAR1\0\0\0\0PAR1", "is a Parquet file: give it the suffix .parquet, or use format='parquet'"),
    ],
)
def test_binary_file(tmp_path: Path, content: bytes, meaning: str) -> None:
    file = write(tmp_path / "me.txt", content)
    assert refusal(file).startswith(f"{file} {meaning}")


def test_not_utf8_names_the_line_and_the_conversion(tmp_path: Path) -> None:
    file = write(tmp_path / "me.csv", "prompt,response\np,café\n".encode("latin-1"))
    assert refusal(file) == (
        f"{file}, line 2: byte 0xe9 is not UTF-8: convert the file, for example with "
        "`iconv -f WINDOWS-1252 -t UTF-8 me.csv > converted.csv`"
    )


@pytest.mark.parametrize(("encoding", "name"), [("utf-16", "UTF-16"), ("utf-32", "UTF-32")])
def test_wide_encodings_say_how_to_convert(tmp_path: Path, encoding: str, name: str) -> None:
    file = write(tmp_path / "me.txt", "hello".encode(encoding))
    assert refusal(file) == (
        f"{file} is {name}, only UTF-8 is read: convert it with `iconv -f {name} -t UTF-8 me.txt > converted.txt`"
    )
    packed = write(tmp_path / "me.csv.gz", gzip.compress("hello".encode(encoding)))
    assert refusal(packed).endswith("> converted.csv`")


GOOD = '{"prompt": "p", "response": "r"}\n'


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ('{"prompt": "p", "response": "secret}', "broken JSON at column 29 (Unterminated string starting at)"),
        ('{"prompt": "p" "response": "r"}', "broken JSON at column 16 (Expecting ',' delimiter)"),
        ("[" * 100_000, "JSON that cannot be read (RecursionError)"),
        ('{"prompt": ' + "1" * 5000 + "}", "JSON that cannot be read (ValueError)"),
    ],
)
def test_broken_json_names_the_row(tmp_path: Path, bad: str, text: str) -> None:
    file = write(tmp_path / "me.jsonl", f"{GOOD}\n{bad}\n{GOOD}")
    assert refusal(file) == f"{file}, row 3: {text}: a row is one JSON object on one line, correct or delete it"


def test_broken_json_document_names_line_and_column(tmp_path: Path) -> None:
    file = write(tmp_path / "me.json", '[\n {"prompt": "p", "response": "r"},\n {"prompt": }\n]')
    assert refusal(file) == (
        f"{file}: broken JSON at line 3, column 13 (Expecting value): a JSON array of objects is expected; "
        "for one object a line use format='jsonl'"
    )


def test_json_that_is_not_made_of_objects(tmp_path: Path) -> None:
    rows = write(tmp_path / "me.jsonl", GOOD + '"secret"\n')
    assert refusal(rows) == (
        f'{rows}, row 2: text, not a JSON object: write {{"prompt": ..., "response": ...}} instead'
    )
    items = write(tmp_path / "items.json", '[{"text": "a"}, 7]')
    assert refusal(items).startswith(f"{items}, row 2: a number, not a JSON object")
    scalar = write(tmp_path / "scalar.json", "7")
    assert refusal(scalar) == f"{scalar} holds a number: a JSON array of objects is expected"


def test_wrong_columns_lists_what_was_found_and_what_is_understood(tmp_path: Path) -> None:
    file = write(tmp_path / "me.csv", "asked,said\na,b\n")
    assert refusal(file) == (
        f"{file}, row 1 (line 2): found columns 'asked', 'said'; understood are Context/Input/Response, "
        "prompt/response, prompt/completion, question/answer, instruction(/input)/output, "
        "instruction(/context)/response, messages, or text alone: rename the columns, or say which they are with "
        "prompt_column and response_column"
    )
    lost = write(tmp_path / "me.jsonl", '{"prompt": "p", "text": "t"}\n')
    assert "found columns 'prompt', 'text'" in refusal(lost), "a prompt is never dropped in silence"
    nothing = write(tmp_path / "nothing.jsonl", "{}\n")
    assert "found columns none" in refusal(nothing)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"prompt_column": "ask"}, "no column 'ask' (from prompt_column); found columns 'asked', 'said'"),
        ({"response_column": "say"}, "no column 'say' (from response_column); found columns 'asked', 'said'"),
        (
            {"prompt_column": "asked"},
            "no column holds the person's text; found columns 'asked', 'said': name it with response_column",
        ),
    ],
)
def test_wrong_column_options(tmp_path: Path, options: dict[str, str], text: str) -> None:
    file = write(tmp_path / "me.tsv", "asked\tsaid\na\tb\n")
    assert refusal(file, **options) == f"{file}, row 1 (line 2): {text}"


def test_one_column_cannot_be_both(tmp_path: Path) -> None:
    file = write(tmp_path / "me.jsonl", GOOD)
    with pytest.raises(SettingsError, match="prompt_column and response_column are both 'prompt'"):
        read_samples(file, prompt_column="prompt", response_column="prompt")


@pytest.mark.parametrize("value", ['""', '" \\n"', "null"])
def test_empty_response(tmp_path: Path, value: str) -> None:
    file = write(tmp_path / "me.jsonl", GOOD + f'{{"prompt": "p", "response": {value}}}\n')
    assert refusal(file) == (
        f"{file}, row 2: 'response' is empty, every row needs the person's own text: fill the row in or delete it"
    )


def test_empty_response_of_a_short_csv_row(tmp_path: Path) -> None:
    file = write(tmp_path / "me.csv", 'prompt,response\n"two\nlines",r\nalone\n')
    assert refusal(file).startswith(f"{file}, row 2 (line 4): 'response' is empty")


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ('{"prompt": "p", "response": 7}', "'response' is a number, not text: write it as a string"),
        ('{"prompt": "p", "response": ["r"]}', "'response' is a list, not text: write it as a string"),
        ('{"prompt": {"a": 1}, "response": "r"}', "'prompt' is an object, not text: write it as a string"),
        (
            '{"prompt": "p", "response": "\\ud83d"}',
            "'response' holds half a character (U+D83D, a lone surrogate): export the data again, as UTF-8",
        ),
    ],
)
def test_values_that_are_not_text(tmp_path: Path, row: str, text: str) -> None:
    file = write(tmp_path / "me.jsonl", GOOD + row)
    assert refusal(file) == f"{file}, row 2: {text}"


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ("hello", ": the chat is text, not a list of {role, content} messages"),
        (["hello"], ", message 1: text without a role: a message is {role, content}"),
        ([{"content": "hi"}], ", message 1: an object without a role: a message is {role, content}"),
        (
            [{"role": "user", "content": "hi"}, {"role": "anna", "content": "hi"}],
            ", message 2: unknown role 'anna': call the person 'user' and the other side 'assistant' (also known: bot,",
        ),
        (
            [{"role": "user", "content": " "}],
            ", message 1: the user's turn is empty: fill it in or delete the message",
        ),
        ([{"role": "user", "content": 5}], ", message 1: 'content' is a number, not text: write it as a string"),
    ],
)
def test_broken_chats(tmp_path: Path, messages: Any, text: str) -> None:
    file = write(tmp_path / "me.jsonl", json.dumps({"messages": messages}))
    assert refusal(file).startswith(f"{file}, row 1{text}")


def test_no_sample_at_all(tmp_path: Path) -> None:
    way_out = "it needs at least one row with the person's own text (in a chat, at least one turn of the role 'user')"
    for name, content in (
        ("header.csv", "prompt,response\n"),
        ("empty.json", "[]"),
        ("chat.jsonl", '{"messages": [{"role": "assistant", "content": "hi"}]}\n'),
    ):
        file = write(tmp_path / name, content)
        assert refusal(file) == f"{file} gave no sample: {way_out}"


def test_broken_csv(tmp_path: Path) -> None:
    quote = write(tmp_path / "quote.csv", 'prompt,response\np,r\np,"never closed\n')
    assert refusal(quote) == (
        f"{quote}, row 2 (line 3): broken CSV (unexpected end of data): close every quote, and write a quote inside a "
        'field as ""'
    )
    wide = write(tmp_path / "wide.csv", "prompt,response\np,well, yes\n")
    assert refusal(wide) == (
        f"{wide}, row 1 (line 2): 3 fields, the header has 2: put quotes around a field that holds the separator or a "
        "line break"
    )
    twice = write(tmp_path / "twice.csv", "prompt,response,response\np,r,r\n")
    assert refusal(twice) == f"{twice}: the header names 'response' twice: rename one of the columns"


def test_truncated_and_damaged_gzip(tmp_path: Path) -> None:
    whole = gzip.compress((GOOD * 100).encode())
    for damaged in (whole[:-9], whole[:12], whole[:10] + b"\xff" * 20, whole[:-8] + b"\0" * 8, b"\x1f\x8b"):
        file = write(tmp_path / "me.jsonl.gz", damaged)
        text = refusal(file)
        assert text.startswith(f"{file} is a truncated or damaged gzip file (")
        assert text.endswith("): download or compress it again")


def test_a_compression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_TEXT_BYTES", 3_000_000)
    bomb = write(tmp_path / "me.txt.gz", gzip.compress(b"a" * 5_000_000))
    assert refusal(bomb) == (
        f"{bomb} holds more than 3000000 bytes when decompressed, the most that is read from one file: "
        "split it into smaller files in one folder"
    )
    large = write(tmp_path / "me.txt", b"a" * 3_000_001)
    assert refusal(large).startswith(f"{large} holds more than 3000000 bytes, the most that is read")
    assert len(read_samples(write(tmp_path / "fits.txt", b"a" * 3_000_000))) == 1


def test_a_parquet_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    monkeypatch.setattr(files, "MAX_TEXT_BYTES", 100_000)
    file = tmp_path / "me.parquet"
    parquet.write_table(pyarrow.table({"text": ["a" * 1000] * 2000}), file)
    assert file.stat().st_size < 20_000
    assert refusal(file).startswith(f"{file} holds more than 100000 bytes when decompressed")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"hello, this is no parquet file", b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_damaged_parquet(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    file = write(tmp_path / "me.parquet", content)
    text = refusal(file)
    assert text.startswith(f"{file} is not a readable Parquet file (")
    assert text.endswith("): download or export it again")


@pytest.mark.parametrize("library", ["pyarrow", "datasets"])
def test_libraries_that_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    source = str(write(tmp_path / "me.parquet", b"PAR1")) if library == "pyarrow" else "somebody/something"
    assert f"needs {library}: `pip install {library}`, or export" in refusal(source)


def test_a_folder_without_files_to_read(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"folder {tmp_path} has no file to read; found nothing; read are .jsonl, ")
    write(tmp_path / "picture.png", b"\x89PNG")
    write(tmp_path / "notes.txt", "text")
    assert refusal(tmp_path, format="csv") == (
        f"folder {tmp_path} has no file to read; found notes.txt, picture.png; read are .csv (also with .gz)"
    )


def test_an_error_in_a_folder_names_the_file(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "fine")
    bad = write(tmp_path / "b.jsonl", "{broken")
    assert refusal(tmp_path).startswith(f"{bad}, row 1: broken JSON")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read every file")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = write(tmp_path / "me.txt", "text")
    file.chmod(0)
    assert refusal(file) == f"{file} cannot be read (Permission denied): check its permissions and its disk"


def test_a_hub_dataset_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    for options in ({}, {"format": "hub"}):
        text = refusal("no-such-person/no-such-data", **options)
        assert text.startswith("'no-such-person/no-such-data' gave no dataset with split 'train' (")
        assert text.endswith("check the name, the split, the network and HF_HUB_OFFLINE")


def test_a_saved_dataset_without_the_split_or_damaged(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    folder = tmp_path / "saved"
    datasets.DatasetDict(train=datasets.Dataset.from_list([{"text": "a"}])).save_to_disk(folder)
    assert refusal(folder, split="test") == f"{folder} has no split 'test': choose one of 'train'"
    next((folder / "train").glob("*.arrow")).unlink()
    text = refusal(folder)
    assert text.startswith(f"{folder} is not a readable saved dataset (")
    assert text.endswith("): write it again with `save_to_disk`")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(st.binary(max_size=40), st.text("{}[]\",:\n\\u0aé \t';", max_size=30).map(str.encode)),
    suffix=st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".txt", "", ".jsonl.gz"]),
    packed=st.booleans(),
)
def test_any_bytes_give_samples_or_one_clear_error(tmp_path: Path, content: bytes, suffix: str, packed: bool) -> None:
    file = write(tmp_path / f"me{suffix}", gzip.compress(content) if packed else content)
    try:
        samples = read_samples(file)
    except DataError as error:
        samples = []
        named = str(error)
    else:
        named = str(file)
    assert str(file) in named
    assert all(s.response.strip() == s.response != "" for s in samples)


def test_errors_do_not_quote_the_persons_text(tmp_path: Path) -> None:
    for name, content in (
        ("a.jsonl", '{"prompt": "secret", "response": "secret'),
        ("b.jsonl", '{"prompt": "secret", "response": 7}'),
        ("c.csv", 'prompt,response\nsecret,"secret'),
        ("d.csv", "prompt,response\nsecret,secret,secret"),
        ("e.jsonl", '["secret"]'),
    ):
        assert "secret" not in refusal(write(tmp_path / name, content))
