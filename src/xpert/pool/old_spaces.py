"""Pools of before the catalog named their space: its files lie under `space/`, of a killed change in `next/space/` too.

A pool is read as it is, and migrated when it is opened to be written: the bytes go into the store, the catalog names
them, the old files go. Every kill leaves one of the two, and the next who opens the pool goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from xpert.errors import SpaceError
from xpert.pool.artifacts import ArtifactStore
from xpert.pool.catalog import Catalog, Records
from xpert.pool.setup import SPACE_FILE, SPACE_FILES, is_space
from xpert.space.storing import load_space
from xpert.writing import is_aside

OLD_FOLDER = "space"
_NEXT = Path("next") / OLD_FOLDER


def old_space(folder: Path, rows: Callable[[], Records]) -> Path | None:
    """Where the old files of a pool's space lie: beside, if rows are explained in that one already; None: nowhere.

    Args:
        folder: of the pool.
        rows: gives its records; called only where a change was killed.
    """
    beside = folder / _NEXT
    if (beside / SPACE_FILE).is_file():
        with suppress(SpaceError):  # none, or just taken away
            digest = load_space(beside / SPACE_FILE).digest
            if any(row.explanation is not None and row.explanation.digests.space == digest for row in rows()):
                return beside
    return folder / OLD_FOLDER if is_space(folder / OLD_FOLDER) else None


def migrate(folder: Path, catalog: Catalog, artifacts: ArtifactStore) -> None:
    """Make an artifact of the old files of a pool's space; nothing happens where there are none.

    The bytes stay as they are, damaged ones too: whoever reads them is told.

    Raises:
        StorageError: disk or database refused; the pool is read as before.
    """
    if not (folder / OLD_FOLDER).is_dir() and not (folder / _NEXT).parent.is_dir():
        return
    with artifacts.lock():
        if catalog.space() is None and (place := old_space(folder, catalog.list)) is not None:
            files = [name for name in SPACE_FILES if (place / name).is_file()]
            catalog.change_space(artifacts.put(place, files), {})
        remove_old(folder)


def remove_old(folder: Path) -> None:
    """Delete the old files of a pool's space, and no file of anybody else."""
    for place in (folder / _NEXT, folder / OLD_FOLDER):
        with suppress(OSError):  # not there, or not empty
            for file in [file for file in place.iterdir() if file.name in SPACE_FILES or is_aside(file)]:
                file.unlink()
            place.rmdir()
    with suppress(OSError):
        (folder / _NEXT).parent.rmdir()
