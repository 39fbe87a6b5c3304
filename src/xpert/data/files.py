"""A file of personal data -> its text, or an error that says what the file is instead.

Knows bytes, compression and encodings; does not know rows or columns. Errors never quote the text itself.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

from xpert.data.regular import open_regular
from xpert.errors import DataError

MAX_TEXT_BYTES = 2 * 1024**3
"""Bytes of text, after decompression, that one file may hold: a bound against compression bombs."""

_UNPACKED_FLOOR = 16 * 2**20
_UNPACKED_RATIO = 50
"""A compressed text of more than `_UNPACKED_FLOOR` may be so many times as large as its file; texts are 3 to 20."""

_PIECE_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_WIDE = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_KNOWN_BINARY = (
    (_PARQUET, "a Parquet file: give it the suffix .parquet, or use format='parquet'"),
    (b"PK\x03\x04", "a ZIP archive or office document: unpack it, or export its text as .txt, .csv or .jsonl"),
    (b"%PDF-", "a PDF: export its text as .txt"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it, or compress it with gzip"),
    (b"\xfd7zXZ\x00", "compressed with xz: unpack it, or compress it with gzip"),
)


def is_parquet(path: Path) -> bool:
    """True when the file starts and ends as Parquet files do."""
    try:
        if path.stat().st_size < 2 * len(_PARQUET):
            return False
        with open_regular(path) as stream:
            start = stream.read(len(_PARQUET))
            stream.seek(-len(_PARQUET), os.SEEK_END)
            return start == stream.read() == _PARQUET
    except OSError as error:
        raise unreadable(path, error) from error


def read_text(path: Path) -> str:
    """The whole text of a UTF-8 file, gzip-compressed or not, without its byte order mark.

    Raises:
        DataError: the file is missing, empty, binary, not UTF-8, damaged, or larger than `MAX_TEXT_BYTES`.
    """
    try:
        content = _read_bytes(path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path} is a truncated or damaged gzip file ({error}): download or compress it again"
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
    _refuse_binary(path, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse_known(path, content)
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8: convert the file, for example with "
            f"`iconv -f WINDOWS-1252 -t UTF-8 {path.name} > converted{_plain_suffix(path)}`"
        ) from error
    if not text.strip():
        raise DataError(f"{path} is empty: give a file with at least one text")
    return text


def unreadable(path: Path, error: OSError) -> DataError:
    """The error for a file that the system does not give us."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"no file or folder {path}: check the path")
    return DataError(f"{path} cannot be read ({error.strerror or error}): check its permissions and its disk")


def _read_bytes(path: Path) -> bytes:
    with open_regular(path) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        compressed = stream.read(len(_GZIP)) == _GZIP
        stream.seek(0)
        most = min(MAX_TEXT_BYTES, max(_UNPACKED_FLOOR, _UNPACKED_RATIO * size)) if compressed else MAX_TEXT_BYTES
        # Read in pieces, so that a bomb is refused before it fills the memory.
        pieces: list[bytes] = []
        taken = 0
        source = gzip.GzipFile(fileobj=stream, mode="rb") if compressed else stream
        while piece := source.read(_PIECE_BYTES):
            taken += len(piece)
            if taken > most:
                raise _too_large(path, size, most, compressed)
            pieces.append(piece)
    return b"".join(pieces)


def _too_large(path: Path, size: int, most: int, compressed: bool) -> DataError:
    if most == MAX_TEXT_BYTES:
        return DataError(
            f"{path} holds more than {most} bytes{' when decompressed' if compressed else ''}, the most that is read "
            "from one file: split it into smaller files in one folder"
        )
    return DataError(
        f"{path} holds more than {most} bytes when decompressed, the most that is read from a compressed file of "
        f"{size} bytes: where you know what is in it, unpack it and give the unpacked file"
    )


def _refuse_binary(path: Path, content: bytes) -> None:
    for mark, name in _WIDE:
        if content.startswith(mark):
            raise DataError(
                f"{path} is {name}, only UTF-8 is read: convert it with "
                f"`iconv -f {name} -t UTF-8 {path.name} > converted{_plain_suffix(path)}`"
            )
    where = content.find(b"\0")
    if where >= 0:
        _refuse_known(path, content)
        raise DataError(
            f"{path} is a binary file (a zero byte at offset {where}): give a text file in UTF-8, or a Parquet file"
        )


def _refuse_known(path: Path, content: bytes) -> None:
    """Name what a file is, once it is known not to be text; a text may well start with `%PDF-`."""
    for mark, meaning in _KNOWN_BINARY:
        if content.startswith(mark):
            raise DataError(f"{path} is {meaning}")


def _plain_suffix(path: Path) -> str:
    return path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
