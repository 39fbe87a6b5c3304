"""Which pools a command may change. Knows folders only."""

from __future__ import annotations

from pathlib import Path

from xpert.cli.sources import pool_folder
from xpert.embedded import EMBEDDED_IMAGE_POOL, EMBEDDED_POOL
from xpert.errors import PoolError


def owned_folder(pool: Path | None) -> Path:
    """The folder of a pool that may be changed.

    Raises:
        PoolError: it is the one inside the package.
    """
    folder = pool_folder(pool)
    if folder.resolve() in (EMBEDDED_POOL.resolve(), EMBEDDED_IMAGE_POOL.resolve()):
        raise PoolError(
            "the pool of the package is read only: make one of your own with `xpert pool create FOLDER`, then give "
            "--pool FOLDER or set XPERT_POOL"
        )
    return folder
