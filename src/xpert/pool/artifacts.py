"""Bytes by their digest: each artifact is a folder named by the SHA-256 over its files.

Knows files only; nothing of adapters or records. Digests are the only names that come from outside, and they must be
64 hexadecimal digits, so that no path can be smuggled in. What is visible under a digest is whole: files are staged
beside it, synced to the disk, and appear by one rename.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xpert.errors import DamagedModelError, PoolError, StorageError
from xpert.models.reference import combined_digest, file_digest, folder_digest
from xpert.writing import STALE_S as STALE_S
from xpert.writing import age_s, sync_to_disk

UNCOUNTED = frozenset({"README.md"})
"""Files that an artifact may hold beside those that make its digest: a card is about an adapter, and not part of it."""

_STAGED, _GONE, _DOOMED = ".staged-", ".gone-", ".doomed-"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PIECE_BYTES = 2**20


class ArtifactStore:
    """Immutable folders by digest.

    The digest is SHA-256 over "name NUL sha256-of-content newline" of each file, sorted by name, `UNCOUNTED` left out.

    Args:
        folder: where the store lies; made when missing, unless `read_only`.
        read_only: nothing is made, swept or changed.

    Raises:
        StorageError: the folder cannot be made.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        self.read_only = read_only
        if not read_only:
            with _translated(folder, "opened"):
                folder.mkdir(parents=True, exist_ok=True)
                self._sweep()

    def path(self, digest: str) -> Path:
        """Where the files of a digest lie, or would lie.

        Raises:
            PoolError: not 64 hexadecimal digits.
        """
        if not _DIGEST.fullmatch(digest):
            raise PoolError(f"{digest[:100]!r} is no digest: 64 digits 0-9 a-f are needed")
        return self.folder / digest

    def has(self, digest: str) -> bool:
        """True when there is an artifact of this digest."""
        return self.path(digest).is_dir()

    def digests(self) -> list[str]:
        """The digests of all artifacts, sorted."""
        with _translated(self.folder, "listed"):
            return sorted(entry.name for entry in self.folder.iterdir() if _DIGEST.fullmatch(entry.name))

    def verify(self, digest: str) -> bool:
        """Read all files again: True when they still have this digest."""
        folder = self.path(digest)
        if not folder.is_dir():
            return False
        with _translated(folder, "read"):
            return _combined((file.name, file_digest(file)) for file in folder.iterdir()) == digest

    def is_sound(self, digest: str) -> bool:
        """As `verify`, but read once in a process, and again where size or time of a file changed."""
        folder = self.path(digest)
        with _translated(folder, "read"):
            return folder.is_dir() and folder_digest(folder, ("*",), tuple(UNCOUNTED)) == digest

    def card_digest(self, digest: str) -> str | None:
        """SHA-256 of what lies beside the files of a digest, read as by `is_sound`; None where nothing does."""
        folder = self.path(digest)
        with _translated(folder, "read"):
            if not any((folder / name).is_file() for name in UNCOUNTED):
                return None
            return folder_digest(folder, tuple(sorted(UNCOUNTED)))

    def put(self, source: Path, files: Sequence[str], *, expected: str | None = None) -> str:
        """Copy files into the store; what is there already, and whole, is left as it is.

        Args:
            source: folder that holds them.
            files: their plain names.
            expected: digest that they must have.

        Returns:
            The digest.

        Raises:
            PoolError: a name is no plain file name.
            DamagedModelError: the files have another digest than expected.
            StorageError: a disk refused; nothing is left of it.
        """
        self._must_write()
        for name in files:
            if not name or name != Path(name).name or name.startswith("."):
                raise PoolError(f"{name!r} is no plain file name: give names of files inside {source}")
        staged = self.folder / f"{_STAGED}{secrets.token_hex(8)}"
        try:
            needed = sum((source / name).stat().st_size for name in files)
            with _translated(self.folder, "written to", needed):
                staged.mkdir()
                digest = _combined([(name, _copy(source / name, staged / name)) for name in files])
                if expected not in (None, digest):
                    raise DamagedModelError(
                        f"{source} has digest {digest[:12]}…, expected was {expected}: it changed while it was read; "
                        "try again when nothing writes to it"
                    )
                sync_to_disk(staged)
                self._reveal(staged, digest)
            return digest
        except OSError as error:
            raise StorageError(f"{source} cannot be read ({error.strerror or error}): check path and rights") from error
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def delete(self, digest: str) -> None:
        """Remove an artifact; one that is not there is no error.

        Raises:
            StorageError: the disk refused.
        """
        self._must_write()
        folder = self.path(digest)
        with _translated(folder, "deleted"):
            if folder.is_dir():
                self._retire(folder)

    def doom(self, digest: str) -> None:
        """Note on the disk that an artifact will be deleted, before any of its files is."""
        self._must_write()
        self.path(digest)
        with _translated(self.folder, "written to"):
            (self.folder / f"{_DOOMED}{digest}").touch()
            sync_to_disk(self.folder)

    def spare(self, digest: str) -> None:
        """Take that note away."""
        self._must_write()
        with _translated(self.folder, "written to"):
            (self.folder / f"{_DOOMED}{digest}").unlink(missing_ok=True)

    def doomed(self) -> list[str]:
        """Digests with that note: of removals that were killed, or that a disk refused."""
        with _translated(self.folder, "listed"):
            noted = (entry.name.removeprefix(_DOOMED) for entry in self.folder.glob(f"{_DOOMED}*"))
            return sorted(digest for digest in noted if _DIGEST.fullmatch(digest))

    @contextmanager
    def lock(self, timeout_s: float = 60.0) -> Iterator[None]:
        """Only one process at a time, so that bytes and rows are changed together. It dies with its process.

        Raises:
            StorageError: another process held it for `timeout_s`.
        """
        from filelock import FileLock, Timeout

        self._must_write()
        held = FileLock(self.folder / ".lock", timeout=timeout_s)
        try:
            held.acquire()
        except Timeout as error:
            raise StorageError(
                f"another process has been publishing to {self.folder} for {timeout_s:g} s: try again when it is done"
            ) from error
        except OSError as error:
            raise StorageError(
                f"{self.folder} cannot be locked ({error.strerror or error}): check its disk and rights"
            ) from error
        try:
            yield
        finally:
            held.release()

    def _must_write(self) -> None:
        if self.read_only:
            raise PoolError(f"the store {self.folder} was opened to be read only: open a pool in a folder of your own")

    def _reveal(self, staged: Path, digest: str) -> None:
        """Rename a staged folder to its digest, unless a whole one is there; a damaged one makes room."""
        target = self.path(digest)
        if target.is_dir():
            if self.verify(digest):
                return
            self._retire(target)
        try:
            os.replace(staged, target)
        except OSError as error:
            # Someone without the lock was faster: what has this name is as good as ours.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES) or not self.verify(digest):
                raise
        sync_to_disk(self.folder)

    def _retire(self, folder: Path) -> None:
        """Out of sight by one rename, then deleted file by file: no half of it is ever visible."""
        gone = self.folder / f"{_GONE}{secrets.token_hex(8)}"
        os.replace(folder, gone)
        sync_to_disk(self.folder)
        shutil.rmtree(gone)

    def _sweep(self) -> None:
        """Remove what killed processes left behind."""
        for entry in self.folder.iterdir():
            if entry.name.startswith((_STAGED, _GONE)) and entry.is_dir() and age_s(entry) > STALE_S:
                shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def _translated(place: Path, verb: str, needed_bytes: int | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        need = f"; {needed_bytes} bytes are needed" if needed_bytes is not None else ""
        way_out = "free space on its disk and try again" if full else "check path, disk and rights"
        raise StorageError(f"{place} could not be {verb} ({error.strerror or error}){need}: {way_out}") from error


def _combined(digests: Iterable[tuple[str, str]]) -> str:
    return combined_digest(sorted((name, digest) for name, digest in digests if name not in UNCOUNTED))


def _copy(source: Path, target: Path) -> str:
    """Copy one file, synced to the disk; the digest is that of the bytes written, whatever happens to the source."""
    content = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while piece := reader.read(_PIECE_BYTES):
            content.update(piece)
            writer.write(piece)
        writer.flush()
        os.fsync(writer.fileno())
    return content.hexdigest()
