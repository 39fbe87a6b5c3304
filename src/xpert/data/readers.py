"""Any source of personal data -> list of samples: the one door of the data room.

Knows which reader fits a source; the parts know bytes (`files`), formats, tables, rows and datasets of the hub (`hub`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from xpert.data import formats, hub, saved, tables
from xpert.data.files import is_parquet, read_text, unreadable
from xpert.data.layouts import nested_files
from xpert.data.regular import check_regular, named_by_user
from xpert.data.rows import Row, row_samples
from xpert.data.split_names import parse_slice, slice_bounds
from xpert.errors import DataError, SettingsError
from xpert.records import Sample

FORMATS = ("auto", "jsonl", "json", "csv", "tsv", "parquet", "text", "hub")

_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".arrow": "parquet",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".markdown": "text",
}
_SPLIT_IN_NAME = re.compile(r"(?:^|[-_.])(train|test|validation|valid|dev)$", re.IGNORECASE)


def read_samples(
    source: str | Path,
    *,
    format: str = "auto",
    split: str = "train",
    prompt_column: str | None = None,
    response_column: str | None = None,
) -> list[Sample]:
    """Read personal data; prompts and responses come back without the white space around them.

    A row is understood by its columns (in any case): `Context`/`Input`/`Response`, `prompt`/`response`,
    `question`/`answer`, `instruction`(/`input`)/`output`, chat `messages` (the user's own turns are the responses), or
    `text` alone. Plain text gives a sample without prompt for each paragraph, or for each line where no line is blank.
    A folder is read file by file, sorted by name; hidden files, files of other kinds and README.md are left out, and
    where file names end in the name of a split (`me_train.jsonl`), those of other splits are too.

    Args:
        source: a file (also gzip-compressed), a folder of files or of a dataset, or the name of a Hugging Face dataset.
        format: one of `FORMATS`; "auto" goes by suffix and content; "hub" is a dataset of the hub, or a local folder
            that is laid out as one.
        split: the split of a dataset or of a folder whose files are named by split; a single file is read whole.
        prompt_column: column of the prompt, where its name is not understood.
        response_column: column of the person's own text, where its name is not understood.

    Returns:
        At least one sample, in the order of the source.

    Raises:
        SettingsError: `format` is unknown.
        DataError: the source cannot be read; the text names the file, the row (from 1) and the way out.
    """
    if format not in FORMATS:
        raise SettingsError(f"unknown data format {format!r}: choose one of {', '.join(FORMATS)}")
    samples = [
        sample
        for row in _rows(source, format, split)
        for sample in row_samples(row, prompt_column=prompt_column, response_column=response_column)
    ]
    if not samples:
        raise DataError(
            f"{source} gave no sample: it needs at least one row with the person's own text "
            "(in a chat, at least one turn of the role 'user')"
        )
    return samples


def _rows(source: str | Path, format: str, split: str) -> Iterator[Row]:
    if format == "hub":
        return _dataset_rows(str(source), split)
    if not str(source).strip():
        raise DataError("no data source: give a file, a folder or the name of a Hugging Face dataset")
    path = named_by_user(source)
    if path.is_dir():
        return _folder_rows(path, format, split)
    if path.is_file():
        return _file_rows(path, format)
    if path.exists():
        raise DataError(f"{path} is neither a file nor a folder: write its content to a file first")
    if isinstance(source, Path) or format != "auto" or _looks_like_path(source):
        raise DataError(f"no file or folder {path}: check the path")
    return hub.hub_rows(source, split)


def _looks_like_path(source: str) -> bool:
    return (
        source.startswith((".", "~", "/", "\\"))
        or source.count("/") > 1
        or "\\" in source
        or Path(source).suffix.lower() in {*_SUFFIXES, ".gz"}
    )


def _suffix_format(path: Path) -> str | None:
    """The format that a file's name promises; None where it promises none."""
    return _SUFFIXES.get((Path(path.stem) if path.suffix.lower() == ".gz" else path).suffix.lower())


def _file_rows(path: Path, format: str) -> Iterator[Row]:
    chosen = _suffix_format(path) if format == "auto" else format
    if chosen == "parquet" or (chosen is None and is_parquet(path)):
        yield from tables.parquet_rows(path)
        return
    text = read_text(path)
    if format == "auto":
        chosen = _format_of_content(chosen, text)
    if chosen == "jsonl":
        yield from formats.jsonl_rows(path, text)
    elif chosen == "json":
        yield from formats.json_rows(path, text)
    elif chosen in ("csv", "tsv"):
        yield from formats.csv_rows(path, text, tabs=chosen == "tsv")
    else:
        yield from formats.text_rows(path, text)


def _format_of_content(promised: str | None, text: str) -> str:
    """What a text is, given what its name promises: .json and .jsonl are often taken for each other."""
    start = text.lstrip()[:1]
    if promised == "json":
        return "jsonl" if formats.looks_like_lines(text) else "json"
    if promised == "jsonl":
        return "json" if start == "[" and not formats.looks_like_lines(text) else "jsonl"
    if promised is not None:
        return promised
    if start == "{":
        return "jsonl" if formats.looks_like_lines(text) else "json"
    return "json" if start == "[" else "text"


def _dataset_rows(source: str, split: str) -> Iterator[Row]:
    """A dataset of the hub, or a local folder that is laid out as one; "train[:10%]" takes some of the rows."""
    path = named_by_user(source)
    if path.is_dir():
        name, ends = parse_slice(split)
        rows = saved.saved_rows(path, name) if saved.is_saved_dataset(path) else _nested_rows(path, name)
        whole = list(rows)
        yield from whole if ends is None else whole[slice_bounds(ends, len(whole))]
    elif path.is_file():
        yield from _file_rows(path, "auto")
    else:
        yield from hub.hub_rows(source, split)


def _nested_rows(folder: Path, split: str) -> Iterator[Row]:
    for file in nested_files(folder, split, lambda file: _wanted(file, "auto")):
        yield from _file_rows(file, "auto")


def _folder_rows(folder: Path, format: str, split: str) -> Iterator[Row]:
    if saved.is_saved_dataset(folder):
        yield from saved.saved_rows(folder, split)
        return
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        files = [entry for entry in entries if not entry.is_dir() and _wanted(entry, format)]
    except OSError as error:
        raise unreadable(folder, error) from error
    if not files:
        if format == "auto" and any(entry.is_dir() for entry in entries):
            yield from _nested_rows(folder, split)
            return
        found = ", ".join(entry.name for entry in entries[:8]) or "nothing"
        suffixes = ", ".join(suffix for suffix, kind in _SUFFIXES.items() if format in ("auto", kind))
        raise DataError(f"folder {folder} has no file to read; found {found}; read are {suffixes} (also with .gz)")
    if any(_split_of(file) == split for file in files):
        files = [file for file in files if _split_of(file) in (None, split)]
    check_regular(folder, files)
    for file in files:
        yield from _file_rows(file, format)


def _wanted(file: Path, format: str) -> bool:
    kind = _suffix_format(file)
    return kind is not None and format in ("auto", kind) and file.stem.lower() != "readme"


def _split_of(file: Path) -> str | None:
    stem = Path(file.stem).stem if file.suffix.lower() == ".gz" else file.stem
    found = _SPLIT_IN_NAME.search(stem)
    if found is None:
        return None
    name = found[1].lower()
    return "validation" if name in ("valid", "dev") else name
