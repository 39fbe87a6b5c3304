"""Rows in files: JSONL, JSON, CSV, TSV, Parquet, Arrow, plain text, also in gzip; odd types and columns."""

from __future__ import annotations

import csv
import gzip
import io
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz import samples
from fuzz.cases import Case
from fuzz.guard import Bait
from fuzz.mutations import TEXTS, dumps, misspell, mutate_bytes, mutate_json
from fuzz.samples import mine, read_twice, rows, words

_READ = (".jsonl", ".csv", ".txt", ".parquet", ".json", ".arrow", ".md", ".tsv")


def prepare(room: Path) -> dict[str, bytes]:
    """Files that hold far more than their size, and the libraries in memory."""
    import pyarrow as pa
    from pyarrow import parquet

    first = room / "first.parquet"
    parquet.write_table(pa.table({"text": ["a"]}), first)
    read_twice(Case(first, "first"))
    long = pa.table({"text": pa.DictionaryArray.from_arrays(pa.array([0] * 8000, pa.int32()), ["a" * 500_000])})
    many = pa.table({"text": pa.DictionaryArray.from_arrays(pa.array([0] * 3_000_000, pa.int32()), ["word " * 100])})
    wide = pa.table({f"c{n}": ["x"] for n in range(3000)})
    return {
        "long.parquet": _parquet(long, compression="zstd"),
        "many.parquet": _parquet(many, compression="zstd"),
        "wide.parquet": _parquet(wide),
        "empty.parquet": _parquet(pa.table({"text": pa.array([], pa.string())})),
        "zeros.txt.gz": gzip.compress(bytes(10_000_000)) * 150,
        "rows.jsonl.gz": gzip.compress(b'{"prompt": "p", "response": "r"}\n' * 300_000) * 150,
        "letters.csv.gz": gzip.compress(b"prompt,response\n") + gzip.compress(b"a" * 10_000_000) * 150,
        "spaces.json.gz": gzip.compress(b" " * 10_000_000) * 150,
    }


def make(rng: random.Random, folder: Path, shared: Any, _bait: Bait) -> Case:
    """One file."""
    writer = rng.choices(
        (_jsonl, _json, _csv, _parquet_file, _arrow_file, _text, _unknown, _bomb), (22, 12, 22, 20, 4, 12, 5, 3)
    )[0]
    name, content, how = writer(rng, shared)
    content = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    if rng.random() < 0.12 and not name.endswith(".gz"):
        content, name, how = gzip.compress(content, mtime=0), f"{name}.gz", f"{how} in gzip"
        if rng.random() < 0.4:
            content = mutate_bytes(rng, content)
    elif rng.random() < 0.25:
        content, how = mutate_bytes(rng, content), f"{how}: bytes"
    if rng.random() < 0.06:
        name = rng.choice(
            ("me", "me.jsonl", "me.csv", "me.txt", "me.parquet", "me.json", "me.arrow", "me.md", "me.tsv")
        )
    options: dict[str, Any] = {}
    if rng.random() < 0.1:
        options["format"] = rng.choice(("jsonl", "json", "csv", "tsv", "parquet", "text", "auto"))
    if rng.random() < 0.06:
        options[rng.choice(("prompt_column", "response_column"))] = rng.choice(
            ("prompt", "text", "nobody", "", "RESPONSE", "\x1b[31m")
        )
    unknown = (
        how.startswith("a file of another kind") and Path(name.removesuffix(".gz")).suffix not in _READ and not options
    )
    return Case(samples.write(folder / name, content), how, {"options": options, "unknown": unknown})


def read(case: Case, _shared: Any) -> None:
    """As `samples.read_twice`."""
    read_twice(case)


def _odd_rows(rng: random.Random) -> list[Any]:
    """Rows, half of them with something wrong in their structure."""
    made: Any = rows(rng)
    return mutate_json(rng, made) if rng.random() < 0.5 else made


def _jsonl(rng: random.Random, _shared: Any) -> tuple[str, Any, str]:
    made = _odd_rows(rng)
    texts = [dumps(row) for row in made] if isinstance(made, list) else [dumps(made)]
    end = rng.choice(("\n", "\n", "\n", "\r\n", "\n\n", "\r", "\u2028", ",\n"))
    text = end.join(texts)
    name = rng.choice(("me.jsonl", "me.jsonl", "me.ndjson", "me.json"))
    if rng.random() < 0.2:
        return name, misspell(rng, text), "JSONL: spelling"
    if rng.random() < 0.1:
        return name, f"{text}\n\ufeff{text}\n", "JSONL: two joined"
    return name, text, "JSONL"


def _json(rng: random.Random, _shared: Any) -> tuple[str, Any, str]:
    made: Any = _odd_rows(rng)
    shape = rng.randrange(6)
    if shape == 0:
        made = {"data": made, "version": 1}
    elif shape == 1 and isinstance(made, list) and all(isinstance(row, dict) for row in made):
        made = {key: [row.get(key) for row in made] for key in (made[0] if made else {})}  # a dict of lists
    elif shape == 2 and isinstance(made, list):
        made = {str(number): row for number, row in enumerate(made)}
    elif shape == 3:
        made = {"train": made, "test": made}
    text = dumps(made)
    return "me.json", misspell(rng, text) if rng.random() < 0.25 else text, f"JSON ({shape})"


def _csv(rng: random.Random, _shared: Any) -> tuple[str, Any, str]:
    made = rows(rng)
    name, mark = rng.choice(
        (("me.csv", ","), ("me.csv", ","), ("me.tsv", "\t"), ("me.csv", ";"), ("me.tab", "\t"), ("me.csv", "|"))
    )
    stream = io.StringIO()
    writer = csv.writer(
        stream,
        delimiter=mark,
        lineterminator=rng.choice(("\n", "\r\n", "\r")),
        quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)),
    )
    header = [*made[0]]
    ways = rng.randrange(12)
    if ways == 0:
        header = [mine(rng) for _ in header]  # a file without a header: the first row is data
    elif ways == 1:
        header = [rng.choice(TEXTS) for _ in header]
    elif ways == 2:
        header = [*header, *header]
    writer.writerow(header)
    for row in made:
        values = [*row.values()]
        if ways == 3:
            values = [rng.choice(TEXTS) for _ in values]
        elif ways == 4:
            values = values[: rng.randrange(len(values) + 1)] + [mine(rng)] * rng.randrange(3)
        writer.writerow(values)
        if ways == 5 and rng.random() < 0.5:
            stream.write("\ufeff")
            writer.writerow(header)
    text = stream.getvalue()
    if ways == 6:
        text = f"sep={mark}\n{text}"
    elif ways == 7:
        text = "\ufeff" + text + "\ufeff" + text
    elif ways == 8:
        text = text.replace('"', "", 1) if rng.random() < 0.5 else f'{text}"{mine(rng)}'
    elif ways == 9:
        text = f"# exported\n\n{text}"
    encoding = rng.choice(
        ("utf-8", "utf-8", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252", "utf-32", "shift-jis")
    )
    return (
        name,
        text.encode(encoding, "replace" if encoding in ("cp1252", "shift-jis") else "surrogatepass"),
        f"CSV ({ways})",
    )


def _text(rng: random.Random, _shared: Any) -> tuple[str, Any, str]:
    parts = [samples.lines(rng, mine(rng)) for _ in range(rng.randrange(1, 5))]
    if rng.random() < 0.3:
        parts[rng.randrange(len(parts))] = rng.choice(TEXTS)
    text = rng.choice(("\n", "\n\n", "\r\n\r\n", "\r", "\n \t\n", "\n---\n", "\f", "\x00", "\x85")).join(parts)
    if rng.random() < 0.2:
        text = f"---\ntitle: {mine(rng)}\n---\n{text}"
    encoding = rng.choice(("utf-8",) * 8 + ("utf-16", "cp1252", "utf-32-be", "utf-8-sig"))
    return rng.choice(("me.txt", "me.md", "me.text", "me.markdown")), text.encode(encoding, "replace"), "plain text"


def _unknown(rng: random.Random, _shared: Any) -> tuple[str, Any, str]:
    name = rng.choice(("me.xml", "me.html", "me.vcf", "me.srt", "me.js", "me.py", "me.log", "me.yaml", "me.pdf",
    "me.docx", "me.zip", "me.db", "me",
                       ".env", "me.rtf", "me.ics", "me.tex", "me.svg"))  # fmt: skip
    content = rng.choice((f"<a>{mine(rng)}</a>", f"BEGIN:VCARD\nFN:{mine(rng)}\nEND:VCARD\n",
    f"1\n00:00:01,000 --> 00:00:02,000\n{mine(rng)}\n",
                          f"var x = '{mine(rng)}';", "%PDF-1.7\n" + mine(rng), "PK\x03\x04" + mine(rng),
                          "SQLite format 3\x00" + mine(rng), mine(rng),
                          "{\\rtf1 " + mine(rng) + "}"))  # fmt: skip
    return name, content, f"a file of another kind {Path(name).suffix}"


def _bomb(rng: random.Random, shared: dict[str, bytes]) -> tuple[str, Any, str]:
    name = rng.choice(sorted(shared))
    return name, shared[name], f"a bomb, {name}"


def _parquet_file(rng: random.Random, _shared: Any) -> tuple[str, Any, str]:
    table = _arrow(rng)
    raw = _parquet(table, compression=rng.choice(("snappy", "none", "zstd", "gzip", "lz4", "brotli")),
    use_dictionary=rng.random() < 0.5,
                   data_page_version=rng.choice(("1.0", "2.0")), store_schema=rng.random() < 0.7)  # fmt: skip
    way = rng.randrange(6)
    if way == 0:  # the footer says other numbers of rows, pages and offsets
        at = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
        raw = raw[:at] + mutate_bytes(rng, raw[at:-8], rng.choice((1, 2, 4))) + raw[-8:]
    elif way == 1:
        raw = raw[:-8] + struct.pack("<I", rng.choice((0, 1, 2**31, 2**32 - 1, len(raw)))) + b"PAR1"
    elif way == 2:
        raw = mutate_bytes(rng, raw)
    return "me.parquet", raw, f"Parquet ({way})"


def _arrow_file(rng: random.Random, _shared: Any) -> tuple[str, Any, str]:
    import pyarrow as pa

    table, stream = _arrow(rng), io.BytesIO()
    opened = rng.choice((pa.ipc.new_file, pa.ipc.new_stream))
    with opened(stream, table.schema) as writer:
        writer.write_table(table)
    return rng.choice(("me.arrow", "me.feather", "me.parquet")), stream.getvalue(), "Arrow"


def _arrow(rng: random.Random) -> Any:
    """A table of texts, or of what stands in the place of texts."""
    import pyarrow as pa

    made = rows(rng)
    columns: dict[str, Any] = {name: pa.array([str(row[name]) for row in made]) for name in made[0]}
    name = rng.choice(list(columns))
    count = len(made)
    odd: tuple[Callable[[], Any], ...] = (
        lambda: columns[name],
        lambda: columns[name].dictionary_encode(),
        lambda: columns[name].cast(pa.large_string()),
        lambda: columns[name].cast(pa.binary()),
        lambda: pa.nulls(count),
        lambda: pa.array([1.5] * count),
        lambda: pa.array([[mine(rng)]] * count),
        lambda: pa.array([{"role": "user", "content": mine(rng)}] * count),
        lambda: pa.array([[("a", mine(rng))]] * count, pa.map_(pa.string(), pa.string())),
        lambda: pa.array([2**62] * count, pa.timestamp("ns")),
        lambda: pa.array([2**40] * count, pa.timestamp("s")),
        lambda: pa.array([10**30] * count, pa.decimal128(38)),
        lambda: pa.array([2**40] * count, pa.duration("s")),
        lambda: pa.array([-(2**31)] * count, pa.date32()),
        lambda: pa.array([b"\xff\xfe\xed\xa0\x80"] * count),
        lambda: pa.Array.from_buffers(
            pa.string(), 1, [None, pa.py_buffer(struct.pack("<2i", 0, 2)), pa.py_buffer(b"\xff\xfe")]
        ),
        lambda: pa.array([1.0] * count, pa.float16()) if hasattr(pa, "float16") else pa.nulls(count),
    )
    spoiled = rng.choice(odd)() if rng.random() < 0.6 else columns[name]
    if len(spoiled) != count:
        columns = {key: value[: len(spoiled)] for key, value in columns.items()}
    columns[name] = spoiled
    if rng.random() < 0.15:
        columns[rng.choice((*TEXTS, words(rng), mine(rng)))] = pa.array(["x"] * len(spoiled))
    if rng.random() < 0.1:
        return pa.Table.from_arrays([*columns.values(), spoiled], names=[*columns, name])  # one name twice
    metadata = (
        {"huggingface": rng.choice(TEXTS), "pandas": rng.choice(("{", '{"index_columns": ["nobody"]}', "x"))}
        if rng.random() < 0.1
        else None
    )
    return pa.table(columns).replace_schema_metadata(metadata)


def _parquet(table: Any, **options: Any) -> bytes:
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(table, stream, **options)
    return stream.getvalue()
