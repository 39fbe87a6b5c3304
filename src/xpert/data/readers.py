"""Any source of personal data -> list of samples: the one door of the data room.

Knows which reader fits a source; the parts know bytes (`files`), formats, tables, rows, chats, exports and Hugging Face
datasets (`hub`). A text is refused where nothing says that the person wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xpert.data import formats, hub, saved, tables
from xpert.data.chat_logs import check_no_chat_inside, read_chat_log
from xpert.data.exports import Export, read_export, read_export_folder
from xpert.data.files import is_parquet, read_text, unreadable
from xpert.data.gathering import Content, gather_samples
from xpert.data.kinds import kind_by_name, kind_of_text, way_out
from xpert.data.regular import check_regular, files_inside, named_by_user
from xpert.data.splits import files_of_split, parse_slice, slice_bounds
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
_MAIL = (".eml", ".mbox", ".mbx")
_ABOUT = frozenset({"readme", "license", "licence", "dataset_info", "dataset_infos", "dataset_dict", "state", "config"})
"""Stems of files that tell of a folder, and hold no data of it."""


def read_samples(
    source: str | Path,
    *,
    format: str = "auto",
    split: str = "train",
    prompt_column: str | None = None,
    response_column: str | None = None,
    me: str | None = None,
) -> list[Sample]:
    """Read personal data; prompts and responses come back without the white space around them.

    A row is understood by its columns (in any case): `Context`/`Input`/`Response`, `prompt`/`response`,
    `question`/`answer`, `instruction`(/`input`)/`output`, chat `messages` (the user's own turns are the responses), or
    `text` alone. Where a source has authors (a text beside a sender, a chat log, an export of a messenger), the texts
    of one of them are read, each with the message of somebody else before it as its prompt.
    Plain text (.txt, .md, or `format="text"`) gives a sample without prompt for each paragraph, or for each line where
    no line is blank; a text that is no prose, such as a web page or program code, is refused.
    A folder is read file by file, sorted by name; where it has no file to read, those of its subfolders are. Hidden
    files, files of other kinds and README.md are left out, and so are files and subfolders whose name is that of
    another split (`test.csv`, `me_test.jsonl`, `test-00000-of-00001.parquet`, `validation/`).

    Args:
        source: a file (also gzip-compressed), a folder of files or of a dataset, or the name of a Hugging Face dataset.
        format: one of `FORMATS`; "auto" goes by suffix and content; "hub" is a dataset of the hub, or a local folder
            that is laid out as one.
        split: the split of a dataset, or of a folder whose files or subfolders are named by split; a single file is
            read whole.
        prompt_column: column of the prompt, where its name is not understood.
        response_column: column of the person's own text, where its name is not understood.
        me: the author whose texts are read, in any case, where a source has several.

    Returns:
        At least one sample, in the order of the source.

    Raises:
        SettingsError: `format` is unknown.
        DataError: the source cannot be read; the text names the file, the row (from 1) and the way out.
    """
    if format not in FORMATS:
        raise SettingsError(f"unknown data format {format!r}: choose one of {', '.join(FORMATS)}")
    samples = gather_samples(
        str(source),
        _contents(source, format, split, me),
        me=me,
        prompt_column=prompt_column,
        response_column=response_column,
    )
    if not samples:
        raise DataError(
            f"{source} gave no sample: it needs at least one row with the person's own text "
            "(in a chat, at least one turn of the role 'user')"
        )
    return samples


def _contents(source: str | Path, format: str, split: str, me: str | None) -> Iterator[Content]:
    if format == "hub":
        yield from _dataset_contents(str(source), split, me)
        return
    if not str(source).strip():
        raise DataError("no data source: give a file, a folder or the name of a Hugging Face dataset")
    path = named_by_user(source)
    if path.is_dir():
        yield from _folder_contents(path, format, split, me)
    elif path.is_file():
        yield _file_content(path, format, me)
    elif path.exists():
        raise DataError(f"{path} is neither a file nor a folder: write its content to a file first")
    elif isinstance(source, Path) or format != "auto" or _looks_like_path(source):
        raise DataError(f"no file or folder {path}: check the path")
    else:
        yield hub.hub_rows(source, split)


def _looks_like_path(source: str) -> bool:
    return (
        source.startswith((".", "~", "/", "\\"))
        or source.count("/") > 1
        or "\\" in source
        or Path(source).suffix.lower() in {*_SUFFIXES, *_MAIL, ".gz"}
        or kind_by_name(Path(source)) is not None
    )


def _suffix_format(path: Path) -> str | None:
    """The format that a file's name promises; None where it promises none."""
    return _SUFFIXES.get((Path(path.stem) if path.suffix.lower() == ".gz" else path).suffix.lower())


def _file_content(path: Path, format: str, me: str | None) -> Content:
    chosen = _suffix_format(path) if format == "auto" else format
    if chosen == "parquet" or (chosen is None and is_parquet(path)):
        return tables.parquet_rows(path)
    try:
        text = read_text(path)
    except DataError:
        export = read_export(path, None)
        if export is None:
            raise
        return export
    export = read_export(path, text)
    if export is not None:
        return export
    if format == "auto":
        chosen = _format_of_content(path, chosen, text)
    if chosen == "jsonl":
        return formats.jsonl_rows(path, text)
    if chosen == "json":
        return formats.json_rows(path, text)
    if chosen in ("csv", "tsv"):
        return formats.csv_rows(path, text, tabs=chosen == "tsv")
    return _written(path, text, me, prose=chosen == "text")


def _format_of_content(path: Path, promised: str | None, text: str) -> str | None:
    """What a text is, given what its name promises: .json and .jsonl are often taken for each other.

    None where nothing says that it is data or prose.
    """
    start = text.lstrip()[:1]
    if promised == "json":
        return "jsonl" if formats.looks_like_lines(text) else "json"
    if promised == "jsonl":
        return "json" if start == "[" and not formats.looks_like_lines(text) else "jsonl"
    if promised is not None or kind_by_name(path) is not None:
        return promised
    if start == "{":
        return "jsonl" if formats.looks_like_lines(text) else "json"
    return "json" if kind_of_text(text) in ("JSON", "JSONL") else None


def _written(path: Path, text: str, me: str | None, *, prose: bool) -> Content:
    """The conversation in a text, or its paragraphs where it was given as prose and seems to be prose."""
    kind = kind_of_text(text)
    if kind != "the log of a program":
        log = read_chat_log(path, text, me)
        # A file that was not given as a text may repeat one word before each colon, and nobody speaks in it.
        if log is not None and (prose or len({message.author for message in log}) > 1):
            return Export("chat log", [log], None)
    kind = kind if prose else kind_by_name(path) or kind
    if kind is not None:
        own = "" if prose or kind_of_text(text) else "; if all of it is your own prose, give --format text"
        raise DataError(f"{path} seems to be {kind}, which is not read as your own prose: {way_out(kind)}{own}")
    if not prose:
        raise DataError(
            f"the name of {path} does not say what it is: if all of it is your own prose, name it .txt, or give "
            "--format text (in Python format='text'); if it is data, name it .jsonl, .json, .csv, .tsv or .parquet"
        )
    check_no_chat_inside(path, text)
    return formats.text_rows(path, text)


def _dataset_contents(source: str, split: str, me: str | None) -> Iterator[Content]:
    """A dataset of the hub, or a local folder that is laid out as one; "train[:10%]" takes some of the rows."""
    path = named_by_user(source)
    if path.is_file():
        yield _file_content(path, "auto", me)
    elif path.is_dir():
        name, ends = parse_slice(split)
        contents = _laid_out(path, name, me)
        if ends is None:
            yield from contents
        else:
            rows = [row for content in contents if not isinstance(content, Export) for row in content]
            yield rows[slice_bounds(ends, len(rows))]
    else:
        yield hub.hub_rows(source, split)


def _laid_out(folder: Path, split: str, me: str | None) -> Iterator[Content]:
    if saved.is_saved_dataset(folder):
        yield saved.saved_rows(folder, split)
        return
    for file in files_of_split(folder, _nested_files(folder, "auto"), split):
        yield _file_content(file, "auto", me)


def _folder_contents(folder: Path, format: str, split: str, me: str | None) -> Iterator[Content]:
    export = read_export_folder(folder)
    if export is not None:
        yield export
        return
    if saved.is_saved_dataset(folder):
        yield saved.saved_rows(folder, split)
        return
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        files = [entry for entry in entries if not entry.is_dir() and _wanted(entry, format)]
    except OSError as error:
        raise unreadable(folder, error) from error
    check_regular(folder, files)
    for file in files_of_split(folder, files or _nested_files(folder, format), split):
        yield _file_content(file, format, me)


def _nested_files(folder: Path, format: str) -> list[Path]:
    names = files_inside(folder, lambda name: _wanted(Path(name), format))
    if not names:
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        suffixes = ", ".join(suffix for suffix, kind in _SUFFIXES.items() if format in ("auto", kind))
        raise DataError(f"folder {folder} has no file to read; found {found}; read are {suffixes} (also with .gz)")
    return [folder / name for name in names]


def _wanted(file: Path, format: str) -> bool:
    if file.name.startswith(".") or Path(file.stem).stem.lower() in _ABOUT:
        return False
    if format == "auto" and file.suffix.lower() in _MAIL:
        return True
    kind = _suffix_format(file)
    return kind is not None and format in ("auto", kind)
