"""A person's pictures as encoded bytes, by number: in their own files, or in one unnamed file of ours.

Knows bytes and names; does not decode. The unnamed file is private and gone with the process, however that ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Any

from xpert.data.contents import kind_of
from xpert.data.regular import file_inside, open_regular
from xpert.errors import DataError
from xpert.printing import printable

MAX_PICTURE_BYTES = 512 * 2**20
"""Bytes that the file of one picture may have."""

ReadFile = Callable[[str, str], bytes]
"""Gives the bytes of a file that a row names: (name, where the row stands) -> bytes, or DataError."""

_IN_MEMORY_BYTES = 64 * 2**20
_SHOWN = 80
_FILL = "fill it in or delete the row"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a picture's bytes are: a file by its name, or an extent of the store; or neither."""

    name: str
    file: ReadFile | None = None
    path: str = ""
    start: int = 0
    length: int | None = None
    fault: str | None = None


class PictureStore:
    """Pictures in the order in which they were added."""

    def __init__(self) -> None:
        self._places: list[_Place] = []
        self._lock = Lock()
        self._kept: IO[bytes] | None = None

    def __len__(self) -> int:
        return len(self._places)

    def add(self, value: Any, read_file: ReadFile | None, *, lasting: bool = True) -> None:
        """Add what a row holds as its picture: bytes, a name, {bytes, path}, or nothing.

        Args:
            value: of the row.
            read_file: opens the file that a row names instead of holding it; None: such rows are refused when read.
            lasting: whether `read_file` still works later; otherwise the file is read at once.
        """
        content, path = value, None
        if isinstance(value, dict):
            content, path = value.get("bytes"), value.get("path")
        elif isinstance(value, str):
            content, path = None, value
        name = _last(path) if isinstance(path, str) else ""
        if isinstance(content, bytes):
            self._places.append(_Place(name, start=self._append(content), length=len(content)))
        elif content is not None or not isinstance(path, str | None):
            self._places.append(_Place(name, fault=f"holds {kind_of(content)}, not a picture: {_FILL}"))
        elif path and read_file is not None and not lasting:
            self._read_now(name, path, read_file)
        elif path:
            self._places.append(_Place(name, file=read_file or _no_files, path=path))
        else:
            self._places.append(_Place(name, fault=f"holds no picture: {_FILL}"))

    def name(self, index: int) -> str:
        """The file name of a picture, empty where it has none."""
        return self._places[index].name

    def read(self, index: int, where: str) -> bytes:
        """The encoded bytes of a picture.

        Raises:
            DataError: there are none, or they lie where nothing is opened.
        """
        place = self._places[index]
        if place.fault is not None:
            raise DataError(f"{where} {place.fault}")
        if place.file is not None:
            return place.file(place.path, where)
        assert self._kept is not None and place.length is not None
        with self._lock:
            self._kept.seek(place.start)
            return self._kept.read(place.length)

    def _read_now(self, name: str, path: str, read_file: ReadFile) -> None:
        try:
            content = read_file(path, "")
        except DataError as error:
            self._places.append(_Place(name, fault=str(error).strip()))
            return
        self._places.append(_Place(name, start=self._append(content), length=len(content)))

    def _append(self, content: bytes) -> int:
        with self._lock:
            if self._kept is None:
                self._kept = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
            try:
                start = self._kept.seek(0, 2)
                self._kept.write(content)
            except OSError as error:
                raise DataError(
                    f"the pictures cannot be kept in {tempfile.gettempdir()} while they are used "
                    f"({error.strerror or error}): free space there, or set TMPDIR to a folder on another disk"
                ) from error
            return start


def files_of(folder: Path) -> ReadFile:
    """Opens files by names inside a folder, and nothing else."""

    def read(name: str, where: str) -> bytes:
        real = file_inside(folder, name, where)
        try:
            with open_regular(real, follow=False) as stream:
                content = stream.read(MAX_PICTURE_BYTES + 1)
        except FileNotFoundError as error:
            raise DataError(f"{where}: there is no such file: put it there or delete the row") from error
        except OSError as error:
            raise DataError(f"{where} cannot be read ({error.strerror or error}): check its permissions") from error
        if len(content) > MAX_PICTURE_BYTES:
            raise DataError(f"{where} has more than {MAX_PICTURE_BYTES} bytes: save it again as PNG or JPEG")
        return content

    return read


def _no_files(name: str, where: str) -> bytes:
    raise DataError(
        f"{where} only names a file, and nothing outside of the source is opened: give the folder in which it lies, or "
        "write the picture itself into the row"
    )


def _last(path: str) -> str:
    return printable(path.replace("\\", "/").rsplit("/", 1)[-1], _SHOWN)
