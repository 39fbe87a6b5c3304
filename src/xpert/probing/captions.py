"""What image models are asked to paint: captions from a file, from a pipeline's own list, or from the hub.

Knows where captions lie; never sees a model or a picture.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from xpert.data.formats import jsonl_rows
from xpert.data.hub import look_up
from xpert.data.regular import open_regular
from xpert.embedded import EMBEDDED_PIPELINES
from xpert.errors import DataError, SettingsError

COCO = "nlphuji/mscoco_2014_5k_test_image_text_retrieval"
"""The captions that the paper's script uses, by their name on the hub; `examples/diffusion` asks for them."""

PACKAGED = "xpert/captions"
CAPTIONS_FILE = "captions.txt"
_COLUMNS = ("caption", "captions", "text")
_MOST_BYTES = 64 * 2**20


def default_captions() -> tuple[str, ...]:
    """The 50 captions that come with the package, of everyday scenes and of no style."""
    return tuple((files("xpert.probing") / "captions_v1.txt").read_text("utf-8").splitlines())


def captions_for(base: str, source: str | None, count: int | None = None) -> tuple[str, ...]:
    """The captions to paint with a base.

    Args:
        base: name or folder of the pipeline; a `captions.txt` in its folder is its own list, for bases that know
            little.
        source: a .txt file (one a line), .jsonl or .csv (column `caption` or `text`), `xpert/captions`, or a dataset of
            the hub; None: the base's own list, else the package's.
        count: so many of the first; None: all.

    Raises:
        DataError: no such captions, or fewer than `count`.
        SettingsError: `count` is below 1.
    """
    if count is not None and count < 1:
        raise SettingsError(f"{count} captions cannot be painted: give 1 or more")
    own = EMBEDDED_PIPELINES.get(base, Path(base).expanduser()) / CAPTIONS_FILE
    if source is None and own.is_file():
        found, named = _lines(own), str(own)
    elif source in (None, PACKAGED):
        found, named = default_captions(), PACKAGED
    else:
        assert source is not None
        file = Path(source).expanduser()
        found, named = (_from_file(file) if file.is_file() else _from_hub(source, count)), source
    if not found:
        raise DataError(f"{named} holds no captions: one a line is needed")
    if count is not None and len(found) < count:
        raise DataError(
            f"{named} holds {len(found)} captions, {count} are wanted: give a smaller number or more captions"
        )
    return found[:count]


def _text(file: Path, kind: str = "text in UTF-8") -> str:
    try:
        with open_regular(file) as stream:
            content = stream.read(_MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as {kind} ({error}): save it again") from error
    if len(content) > _MOST_BYTES:
        raise DataError(f"{file} holds more than {_MOST_BYTES} bytes of captions: give a part of it")
    return text


def _lines(file: Path) -> tuple[str, ...]:
    # Not splitlines(): a caption may hold U+2028 and other characters at which that splits.
    return tuple(line.strip() for line in _text(file).split("\n") if line.strip())


def _from_file(file: Path) -> tuple[str, ...]:
    if file.suffix == ".csv":
        text = _text(file, "CSV in UTF-8")
        try:
            return tuple(_captions_of(csv.DictReader(io.StringIO(text, newline="")), file))
        except csv.Error as error:
            raise DataError(f"{file} cannot be read as CSV in UTF-8 ({error}): save it again") from error
    if file.suffix == ".jsonl":
        return tuple(_caption(row.values, row.where) for row in jsonl_rows(file, _text(file)))
    return _lines(file)


def _captions_of(rows: Iterable[Any], source: object) -> Iterable[str]:
    """The caption of every row; of several the first, as the paper's script has it."""
    for number, row in enumerate(rows, 1):
        yield _caption(row, f"{source}, row {number}")


def _caption(row: Mapping[str, Any], where: str) -> str:
    value = next((row[name] for name in _COLUMNS if row.get(name)), None)
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, str) or not first.strip():
        raise DataError(f"{where} has no caption: one of {_COLUMNS} with text is needed")
    return first.strip()


def _from_hub(name: str, count: int | None) -> tuple[str, ...]:
    """Captions of a hub dataset's first rows, streamed, without its pictures."""
    from datasets import load_dataset

    try:
        found = look_up(name, "test")
        revision = None if found is None else found.sha
        try:
            rows = load_dataset(name, split="test", streaming=True, revision=revision)
        except RuntimeError:  # a dataset that is a script; the hub keeps it as Parquet too
            rows = load_dataset(name, split="test", streaming=True, revision="refs/convert/parquet")
        kept = [column for column in (rows.column_names or _COLUMNS) if column in _COLUMNS]
        rows = rows.select_columns(kept)
        return tuple(_captions_of(rows.take(count) if count is not None else rows, name))
    except DataError:
        raise
    except Exception as error:  # the hub fails in many ways
        raise DataError(
            f"captions {name!r} are neither a file here nor did the hub give them ({type(error).__name__}): give "
            f"a file with one caption a line, or {PACKAGED} for the 50 that come with the package"
        ) from error
