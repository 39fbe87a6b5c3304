"""Regular files, and those of a folder that lie in it: what may be opened where a stranger chose the names.

Knows paths, links and kinds of files; does not know what is in them. A file that the user named may be a link, since
the user chose it; a name inside a source leads to a regular file inside the source, or is refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from xpert.errors import DataError
from xpert.printing import printable

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_HIDDEN = (".", "__")
_SHOWN = 80


def named_by_user(source: str | Path) -> Path:
    """The path that the user's words stand for, whether or not something is there.

    Raises:
        DataError: they cannot be a path.
    """
    try:
        path = Path(source).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"the data source cannot be looked up as a path ({error}): give a file or a folder") from error
    return path


def open_regular(path: Path, *, follow: bool = True) -> BinaryIO:
    """Open a file for reading, if it is a regular one.

    Args:
        path: the file.
        follow: whether it may be a link.

    Raises:
        DataError: it is a folder, pipe, socket or device.
        OSError: as `open` does.
    """
    # Looked at first, since merely opening some devices does something; and again once open, since it may have changed.
    _refuse_special(path, os.stat(path, follow_symlinks=follow).st_mode)
    descriptor = os.open(path, _FLAGS if follow else _FLAGS | _NO_LINK)
    try:
        _refuse_special(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def is_plain(name: str) -> bool:
    """Whether a name is a plain relative path: no URL, not absolute, nothing upwards, no drive, no zero byte."""
    windows = PureWindowsPath(name)
    outside = windows.drive or windows.root or PurePosixPath(name).is_absolute() or ".." in windows.parts
    return bool(name) and not (outside or "\0" in name or "://" in name or "::" in name or name.startswith("~"))


def refuse_name(name: str, where: str) -> None:
    """See that a name which a source gives is a plain relative path.

    Raises:
        DataError: it is not (`is_plain`).
    """
    if not is_plain(name):
        raise DataError(
            f"{where} names something outside its own folder, which is not opened: only relative names of files in "
            "the same folder are read; put the file itself there"
        )


def file_inside(folder: Path, name: str, where: str) -> Path:
    """Where a name inside a folder really lies.

    Args:
        folder: the source.
        name: relative to it, as a stranger wrote it.
        where: what names it, for errors.

    Raises:
        DataError: `refuse_name` refuses it, or a link leads out of the folder.
    """
    refuse_name(name, where)
    try:
        real = Path(os.path.realpath(folder / name))
    except (OSError, ValueError) as error:
        raise DataError(f"{where} names no file that can be looked up: correct the name or delete the row") from error
    if not _lies_in(real, _roots(folder)):
        raise _leads_out(where)
    return real


def files_inside(folder: Path, wanted: Callable[[str], bool]) -> list[str]:
    """The wanted files of a folder and of the folders in it, as names relative to it with "/", sorted.

    Hidden ones are left out, and what starts with two underscores. Links to folders inside are left out, since their
    files are found where they are.

    Args:
        folder: the source.
        wanted: told the name of each file; what it does not want is never looked at.

    Raises:
        DataError: a wanted file is no regular one, or a link leads out of the folder; or a folder cannot be listed.
    """
    found: list[str] = []
    roots = _roots(folder)

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be listed ({error.strerror or error}): check its rights") from error

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(_HIDDEN)]
        for name in folders:
            check_links(folder, [Path(place) / name], roots)
        kept = [Path(place) / name for name in files if not name.startswith(_HIDDEN) and wanted(name)]
        check_regular(folder, kept)
        found += [file.relative_to(folder).as_posix() for file in kept]
    return sorted(found)


def check_regular(folder: Path, files: Iterable[Path]) -> None:
    """See that files of a folder are regular ones, and that no link among them leads out of it.

    Raises:
        DataError: one is not.
    """
    files = list(files)
    check_links(folder, files, _roots(folder))
    for file in files:
        try:
            mode = os.stat(file).st_mode
        except OSError as error:
            raise DataError(
                f"{_shown(file)} cannot be read ({error.strerror or error}): repair or remove it"
            ) from error
        _refuse_special(file, mode)


def check_links(folder: Path, entries: Iterable[Path], roots: list[Path] | None = None) -> None:
    """See that no entry of a folder is a link that leads out of it.

    Raises:
        DataError: one is.
    """
    roots = _roots(folder) if roots is None else roots
    for entry in entries:
        if entry.is_symlink() and not _lies_in(Path(os.path.realpath(entry)), roots):
            raise _leads_out(_shown(entry))


def _roots(folder: Path) -> list[Path]:
    """Where files of a folder may really lie: in it, and for a download of the hub's, where that keeps the bytes."""
    real = Path(os.path.realpath(folder))
    for place in (real, *real.parents):
        download = place.parent.parent
        if place.parent.name == "snapshots" and download.name.startswith("datasets--"):
            return [real, download / "blobs"]
    return [real]


def _lies_in(real: Path, roots: list[Path]) -> bool:
    return any(real.is_relative_to(root) for root in roots)


def _refuse_special(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISLNK, "a link"),
    )
    kind = next((words for is_kind, words in kinds if is_kind(mode)), "a device")
    raise DataError(f"{_shown(path)} is {kind}, only regular files are read: write its content to a file, or remove it")


def _leads_out(where: str) -> DataError:
    return DataError(
        f"{where} is a link that leads out of its folder, which is not opened: copy the file there instead"
    )


def _shown(path: Path) -> str:
    """A path whose last part a stranger may have named."""
    return str(path.parent / printable(path.name, _SHOWN))
