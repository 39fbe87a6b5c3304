"""Where the catalog of a pool is lost and its adapters are not: found before anything is made or deleted.

Knows files only; what is in a catalog is the matter of `xpert.pool.sql`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from xpert.errors import PoolError, StorageError
from xpert.pool.setup import is_space

CATALOG_FILE = "catalog.sqlite"
ARTIFACTS_FOLDER = "artifacts"
SIDE_FILES = ("-journal", "-wal", "-shm")
"""What SQLite may lay beside a database, added to its name."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def adapters_beside(folder: Path) -> int:
    """How many adapters lie in a pool folder, whatever its catalog says."""
    try:
        entries = (folder / ARTIFACTS_FOLDER).iterdir()
        return sum(1 for entry in entries if _DIGEST.fullmatch(entry.name) and not is_space(entry))
    except OSError:
        return 0


def way_back(folder: Path) -> str:
    """How a catalog comes back."""
    return (
        f"restore the file from a copy, or rebuild it with `xpert pool restore --pool {folder}`, which keeps all "
        "adapters and the old catalog (--dry-run: only say what it would do)"
    )


def refuse_lost(folder: Path) -> None:
    """Refuse a pool whose catalog is missing or empty while adapters lie beside it.

    Raises:
        PoolError: there is no catalog, or it is no file.
        StorageError: it is empty.
    """
    count = adapters_beside(folder)  # first: whoever publishes has written a catalog before
    catalog = folder / CATALOG_FILE
    if catalog.exists() and not catalog.is_file():
        raise PoolError(f"{catalog} is no file: move it away, then give the folder of a pool, or make one")
    if count == 0:
        return
    found = f"{folder / ARTIFACTS_FOLDER} holds {count} adapter{'' if count == 1 else 's'}"
    if not catalog.exists():
        raise PoolError(f"no pool in {folder}: it holds no {CATALOG_FILE}, but {found}: {way_back(folder)}")
    if os.path.getsize(catalog) == 0:
        raise StorageError(f"catalog {catalog} is empty, but {found}: it was damaged; {way_back(folder)}")
