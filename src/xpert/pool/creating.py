"""A new pool, with the space of another one or without: the catalog comes last, so that a kill leaves none."""

from __future__ import annotations

from pathlib import Path

from xpert.pool.artifacts import ArtifactStore
from xpert.pool.losses import ARTIFACTS_FOLDER, CATALOG_FILE, SIDE_FILES
from xpert.pool.old_spaces import OLD_FOLDER, remove_old
from xpert.pool.pool import Pool, open_pool
from xpert.pool.setup import SPACE_FILES, PoolSetup
from xpert.pool.spaces import put_space, spaces_in
from xpert.space.basis import Space
from xpert.writing import is_aside


def create_pool(folder: Path, space: tuple[Space, PoolSetup] | None = None) -> Pool:
    """Make an empty pool in a folder that is new, or unfinished.

    Args:
        folder: of the pool.
        space: what its models are to be explained in; None: reindexing builds that.

    Raises:
        StorageError: disk or database refused; what was written is unfinished.
    """
    from xpert.pool.sql import SqlCatalog

    remove_old(folder)
    artifacts = ArtifactStore(folder / ARTIFACTS_FOLDER)
    with artifacts.lock():
        for digest in spaces_in(artifacts):  # of a killed run with another space
            artifacts.doom(digest)
        named = None if space is None else put_space(artifacts, *space)
        SqlCatalog(folder / CATALOG_FILE, space=named).close()
    return open_pool(folder)


def is_unfinished(folder: Path) -> bool:
    """Whether a folder is empty, or holds only what was written of a new pool before its catalog, which comes last."""
    if not folder.is_dir():
        return False
    files = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return all(is_aside(path) or _is_begun(path.relative_to(folder), path) for path in files)


def _is_begun(name: Path, path: Path) -> bool:
    """Whether a file of a pool is written before its catalog; an empty catalog was only opened."""
    match name.parts:
        case [one]:
            return one in {CATALOG_FILE + side for side in SIDE_FILES} or (
                one == CATALOG_FILE and path.stat().st_size == 0
            )
        case [room, one]:
            return (room == OLD_FOLDER and one in SPACE_FILES) or (room == ARTIFACTS_FOLDER and one.startswith("."))
        case [room, _, one]:
            return room == ARTIFACTS_FOLDER and one in SPACE_FILES
    return False
