"""Parquet and Arrow files give right values, or say what is wrong and where; a small file never takes much memory."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xpert.data import read_samples
from xpert.data.tables import open_table
from xpert.errors import DataError


def parquet(table: pa.Table, file: Path, **more: Any) -> Path:
    pq.write_table(table, file.with_suffix(".parquet"), **more)
    return file.with_suffix(".parquet")


def stream(table: pa.Table, file: Path, **more: Any) -> Path:
    place = file.with_suffix(".arrow")
    with pa.OSFile(str(place), "wb") as sink, pa.ipc.new_stream(sink, table.schema, **more) as writer:
        writer.write_table(table)
    return place


def arrow_file(table: pa.Table, file: Path, **more: Any) -> Path:
    place = file.with_suffix(".arrow")
    with pa.OSFile(str(place), "wb") as sink, pa.ipc.new_file(sink, table.schema, **more) as writer:
        writer.write_table(table)
    return place


Write = Callable[..., Path]
WRITERS = [parquet, stream, arrow_file]


def rows(file: Path) -> list[dict[str, Any]]:
    with open_table(file) as table:
        return [dict(row.values) for row in table.rows()]


@pytest.mark.parametrize("write", WRITERS)
def test_values_of_every_usual_type_come_back(write: Write, tmp_path: Path) -> None:
    columns = {
        "text": pa.array(["one", None, "drei"]),
        "large": pa.array(["a", "b", "c"], pa.large_string()),
        "repeated": pa.array(["x", "y", "x"]).dictionary_encode(),
        "number": pa.array([1, None, 3], pa.int64()),
        "money": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("-2.25")]),
        "day": pa.array([datetime.date(2024, 2, 29), None, datetime.date(1, 1, 1)]),
        "raw": pa.array([b"\0", b"", None]),
        "fixed": pa.array([b"ab", b"cd", b"ef"], pa.binary(2)),
        "turns": pa.array([[{"role": "user", "content": "hi"}], [], None]),
        "tags": pa.array([["a", "a"], None, ["b"]]),
        "nothing": pa.nulls(3),
        "pairs": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int32())),
        "right": pa.array([True, False, None]),
    }
    table = pa.table(columns)
    assert rows(write(table, tmp_path / "me")) == table.to_pylist()


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_text_columns_of_every_kind_are_read(kind: Any, write: Write, tmp_path: Path) -> None:
    table = pa.table({"prompt": pa.array(["a?", "b?"], kind), "response": pa.array(["same", "same"], kind)})
    table = table.set_column(1, "response", table["response"].dictionary_encode())
    found = read_samples(write(table, tmp_path / "me"))
    assert [(s.prompt, s.response) for s in found] == [("a?", "same"), ("b?", "same")]


@pytest.mark.parametrize("write", WRITERS)
def test_many_batches_and_row_groups_keep_their_order(write: Write, tmp_path: Path) -> None:
    table = pa.table({"text": [f"text {n}" for n in range(5000)]})
    more = {"row_group_size": 700} if write is parquet else {}
    assert [s.response for s in read_samples(write(table, tmp_path / "me", **more))] == table["text"].to_pylist()


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([decimal.Decimal("1.5")], "of type Decimal"),
        ([datetime.date(2024, 1, 1)], "of type date"),
        ([datetime.datetime(2024, 1, 1)], "of type datetime"),
        ([b"secret"], "of type bytes"),
        ([7], "a number"),
        ([["secret"]], "a list"),
        ([{"secret": "secret"}], "an object"),
    ],
)
def test_a_column_that_is_no_text_names_its_row_and_kind(values: Any, kind: str, write: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"me.(parquet|arrow), row 1: 'text' is {kind}, not text") as caught:
        read_samples(write(pa.table({"text": values}), tmp_path / "me"))
    assert "secret" not in str(caught.value)


def invalid(count: int = 3) -> pa.Array:
    return pa.array([*[b"fine"] * (count - 1), b"\xff\xfesecret"], pa.binary()).view(pa.string())


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("shape", ["plain", "repeated", "turns"])
def test_text_that_is_not_utf8_names_its_row(shape: str, write: Write, tmp_path: Path) -> None:
    column, name = invalid(), "text"
    if shape == "repeated":
        column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), column)
    elif shape == "turns":
        turn = pa.StructArray.from_arrays([pa.array(["user"] * 3), column], names=["role", "content"])
        column, name = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), turn), "messages"
    with pytest.raises(DataError, match="row 3: column 1 holds text that is not UTF-8: export the data again"):
        read_samples(write(pa.table({name: column}), tmp_path / "me"))


@pytest.mark.parametrize("write", WRITERS)
def test_values_out_of_range_name_their_row(write: Write, tmp_path: Path) -> None:
    late = pa.array([0, 2**60], pa.int64()).cast(pa.timestamp("us"))
    with pytest.raises(DataError, match="row 2: column 1 holds a value out of range"):
        rows(write(pa.table({"text": late}), tmp_path / "me"))


@pytest.mark.parametrize("write", [stream, arrow_file])
@pytest.mark.parametrize(
    "column",
    [
        pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array(["a", "b"])]),
        pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["a"])),
        pa.array([["a"], ["b"]], pa.list_view(pa.string())),
    ],
)
def test_exotic_columns_are_refused_only_where_they_are_used(column: Any, write: Write, tmp_path: Path) -> None:
    file = write(pa.table({"more": column, "text": ["one", "two"]}), tmp_path / "me")
    assert [s.response for s in read_samples(file)] == ["one", "two"]
    with pytest.raises(DataError, match="row 1: column 1 is of a kind that is not read .*: write it as text"):
        read_samples(file, response_column="more")


@pytest.mark.parametrize("write", WRITERS)
def test_columns_of_one_name_are_named_by_number(write: Write, tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["text", "other", "text"])
    with pytest.raises(DataError, match="columns 1 and 3 have the same name: rename one"):
        read_samples(write(table, tmp_path / "me"))


@pytest.mark.parametrize("write", WRITERS)
def test_names_of_columns_that_are_not_utf8(write: Write, tmp_path: Path) -> None:
    file = write(pa.table({"text": ["a"], "namename": ["b"]}), tmp_path / "me")
    file.write_bytes(file.read_bytes().replace(b"namename", b"\xff\xfe\xff\xfename"))
    with pytest.raises(DataError, match=r"is not a readable (Parquet|Arrow) file \(.*export it again"):
        read_samples(file)


@pytest.mark.parametrize("write", WRITERS)
def test_damaged_bytes_give_rows_or_one_clear_error(write: Write, tmp_path: Path) -> None:
    turns = pa.array([[{"role": "user", "content": f"turn {n}"}] for n in range(50)])
    table = pa.table({"messages": turns, "tag": pa.array(["x"] * 50).dictionary_encode()})
    whole = write(table, tmp_path / "me").read_bytes()
    chance, file = np.random.default_rng(3), tmp_path / f"broken{write(table, tmp_path / 'me').suffix}"
    for turn in range(150):
        damaged = bytearray(whole)
        for place in chance.integers(0, len(whole), 3):
            damaged[place] = int(chance.integers(256))
        file.write_bytes(bytes(damaged[: int(chance.integers(1, len(whole)))] if turn % 5 == 0 else damaged))
        with suppress(DataError):
            read_samples(file)


# Small files that claim much. Each is read in a process of its own, whose memory is measured.

BOUND_MIB = 350


def taken_mib(source: Path, what: str = "texts") -> tuple[str, int]:
    """What reading says, and how much memory it takes over that of the libraries alone."""
    code = """
import resource, sys
import pyarrow.compute, pyarrow.parquet, numpy
from xpert.data import read_samples
from xpert.data.pictures import open_pictures
from xpert.errors import DataError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
try:
    told = f"{len(read_samples(sys.argv[1]) if sys.argv[2] == 'texts' else open_pictures(sys.argv[1]))} samples"
except DataError as error:
    told = str(error)
print(told)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    run = subprocess.run([sys.executable, "-c", code, str(source), what], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
    *told, taken = run.stdout.splitlines()
    return "\n".join(told), int(taken)


def repeated_rows(room: Path) -> Path:
    piece = pa.table({"text": pa.DictionaryArray.from_arrays(np.zeros(500_000, np.int32), ["hi"])})
    with pq.ParquetWriter(room / "me.parquet", piece.schema, compression="zstd") as writer:
        for _ in range(30):
            writer.write_table(piece)
    return room / "me.parquet"


def long_list(room: Path) -> Path:
    inner = pa.array(np.zeros(25_000_000, np.int8))
    table = pa.table({"text": ["a"], "more": pa.ListArray.from_arrays(pa.array([0, len(inner)], pa.int32()), inner)})
    return parquet(table, room / "me", compression="zstd", data_page_size=10**9)


def repeated_text(room: Path) -> Path:
    value = "a" * 10_000_000
    table = pa.table({"text": pa.DictionaryArray.from_arrays(np.zeros(3000, np.int32), [value])})
    return parquet(table, room / "me", compression="zstd", dictionary_pagesize_limit=10**9, store_schema=False)


def repeated_text_in_lists(room: Path) -> Path:
    texts = pa.DictionaryArray.from_arrays(np.zeros(2000, np.int32), ["a" * 100_000]).cast(pa.string())
    table = pa.table({"text": ["a"], "more": pa.ListArray.from_arrays(pa.array([0, 2000], pa.int32()), texts)})
    return parquet(table, room / "me", compression="zstd", store_schema=False)


def one_long_text(room: Path, compression: str = "zstd") -> Path:
    table = pa.table({"text": ["a" * 200_000_000]})
    more = {"use_dictionary": False, "write_statistics": False, "data_page_size": 10**10}
    return parquet(table, room / "me", compression=compression, **more)


def shared_starts(room: Path) -> Path:
    table = pa.table({"text": ["a" * 500_000] * 400})
    more = {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}, "write_statistics": False}
    return parquet(table, room / "me", compression="zstd", data_page_size=10**10, **more)


def wide_nothing(room: Path) -> Path:
    return parquet(pa.table({"text": ["a"], "more": pa.array([None], pa.binary(1_500_000))}), room / "me")


def packed_stream(room: Path) -> Path:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    return stream(pa.table({"text": ["a" * 200_000_000]}), room / "me", options=options)


def rows_of_nothing(room: Path) -> Path:
    batch = pa.RecordBatch.from_arrays([pa.nulls(2**28)], names=["text"])
    return stream(pa.Table.from_batches([batch]), room / "me")


def lists_of_nothing(room: Path) -> Path:
    inner = pa.ListArray.from_arrays(pa.array([0, 2**31 - 1], pa.int32()), pa.nulls(2**31 - 1))
    return stream(pa.table({"text": ["a"], "more": inner}), room / "me")


def named_often(room: Path) -> Path:
    texts = pa.DictionaryArray.from_arrays(np.zeros(100_000, np.int32), ["a" * 100_000])
    return stream(pa.table({"text": texts}), room / "me")


def runs(room: Path) -> Path:
    return stream(pa.table({"text": pa.RunEndEncodedArray.from_arrays([2**31 - 2], ["a"])}), room / "me")


def claimed_body(room: Path) -> Path:
    file = stream(pa.table({"text": ["a" * 100]}), room / "me")
    content = file.read_bytes()
    body = (104 + 8 + 7) // 8 * 8  # offsets and text, padded
    place = content.rindex((112).to_bytes(8, "little")) if (112).to_bytes(8, "little") in content else None
    assert place is not None, body
    file.write_bytes(content[:place] + (2**40).to_bytes(8, "little") + content[place + 8 :])
    return file


def claimed_footer(room: Path) -> Path:
    file = room / "me.parquet"
    # A footer whose first list says that it has 2**31 - 1 elements.
    footer = b"\x15\x02\x19\xfc\xff\xff\xff\xff\x07"
    file.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    return file


def packed_text(room: Path) -> Path:
    file = room / "me.txt.gz"
    with gzip.open(file, "wb") as sink:
        for _ in range(400):
            sink.write(b"a" * 2**20)
    return file


def packed_lists(room: Path) -> Path:
    file = room / "me.json.gz"
    with gzip.open(file, "wb") as sink:
        sink.write(b"[" + b"[]," * 40_000_000 + b"[]]")
    return file


SMALL = [
    *(repeated_rows, long_list, repeated_text, repeated_text_in_lists, one_long_text, shared_starts, wide_nothing),
    *(packed_stream, rows_of_nothing, lists_of_nothing, named_often, runs, claimed_body, claimed_footer),
    *(packed_text, packed_lists),
]


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
@pytest.mark.parametrize("make", SMALL)
def test_a_small_file_never_takes_much_memory(make: Callable[[Path], Path], tmp_path: Path) -> None:
    file = make(tmp_path)
    assert file.stat().st_size < 2_000_000
    told, taken = taken_mib(file)
    assert "samples" not in told and str(file) in told and taken < BOUND_MIB, (told, taken)


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
@pytest.mark.parametrize("compression", ["brotli", "gzip"])
def test_no_compression_of_pages_takes_much_memory(compression: str, tmp_path: Path) -> None:
    told, taken = taken_mib(one_long_text(tmp_path, compression))
    assert "holds more than 67108864 bytes when decompressed" in told and taken < BOUND_MIB


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_pictures_of_a_small_file_never_take_much_memory(tmp_path: Path) -> None:
    cell = pa.array([{"bytes": b"a" * 200_000_000, "path": "1.png"}])
    file = parquet(pa.table({"image": cell, "text": ["a"]}), tmp_path / "me", compression="zstd", use_dictionary=False)
    told, taken = taken_mib(file, "pictures")
    assert "when decompressed" in told and taken < BOUND_MIB


def test_a_footer_that_lies_about_its_pages_is_not_believed(tmp_path: Path) -> None:
    file = one_long_text(tmp_path)
    stated = pq.ParquetFile(file).metadata.row_group(0).column(0).total_uncompressed_size
    written, little = b"", b"\x82\x80\x80\x80\x00"  # as Thrift writes numbers: seven bits a byte
    number = 2 * stated
    while number:
        written += bytes([number & 127 | (128 if number > 127 else 0)])
        number >>= 7
    content = file.read_bytes()
    assert len(written) == len(little) and content.count(written, len(content) // 2) > 0
    half = len(content) // 2
    file.write_bytes(content[:half] + content[half:].replace(written, little))
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).total_uncompressed_size == 1
    with pytest.raises(DataError, match="holds more than 67108864 bytes when decompressed"):
        rows(file)


def test_repetitive_but_honest_data_is_read(tmp_path: Path) -> None:
    """100,000 rows of few different texts, as a log has them, in each kind of file."""
    texts = [f"answer number {n % 50} of those that are given again and again" for n in range(100_000)]
    table = pa.table({"text": texts, "source": ["a chat"] * len(texts)})
    assert len(read_samples(parquet(table, tmp_path / "me", compression="zstd"))) == 100_000
    with gzip.open(tmp_path / "me.jsonl.gz", "wt") as sink:
        sink.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    assert len(read_samples(tmp_path / "me.jsonl.gz")) == 100_000


def test_no_damage_of_a_footer_ends_the_process(tmp_path: Path) -> None:
    """Some footers make pyarrow abort where their columns are looked at."""
    turns = pa.array([[{"role": "user", "content": f"turn {n}"}] for n in range(50)])
    file = parquet(pa.table({"messages": turns}), tmp_path / "me")
    code = """
import sys
from pathlib import Path
from xpert.data import read_samples
from xpert.errors import DataError

file = Path(sys.argv[1])
whole = file.read_bytes()
length = int.from_bytes(whole[-8:-4], "little")
for place in range(len(whole) - 8 - length, len(whole) - 8):
    damaged = bytearray(whole)
    damaged[place] ^= 16
    file.write_bytes(bytes(damaged))
    try:
        read_samples(file)
    except DataError:
        pass
"""
    run = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
