"""Another space for a pool: explanations and space change together, whatever is interrupted.

Explanations lie in the catalog, the space that they are made in lies in files, and no single step changes both. So the
new space is laid beside the old one, all rows are changed in one transaction, then its files take their place:

    step                      rows   space/          next/space/   a reader takes
    before                    old    old             -             space/
    laid beside               old    old             new           space/, since no row is explained in the other
    rows, one transaction     new    old             new           next/space/, since rows are explained in it
    files take their place    new    old, then new   new           next/space/
    next is taken away        new    new             -             space/

A kill leaves one of these lines; whoever opens the pool to change it goes on from there. Knows files and rows; loads no
model.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from xpert.errors import SpaceError
from xpert.pool.setup import SPACE_FILE, PoolSetup, read_setup_of, write_setup
from xpert.records import Explanation, PoolRecord
from xpert.space.storing import load_space, save_space

if TYPE_CHECKING:
    from xpert.pool.publishing import Pool
    from xpert.space.basis import Space

NEXT = "next"
"""Inside the folder of a pool, and laid out as one."""


def current(folder: Path) -> Path:
    """The folder under which the setup and the space lie that the rows of a pool are explained in; loads no space."""
    from xpert.pool.publishing import open_pool

    if not (folder / NEXT / SPACE_FILE).is_file():
        return folder
    with open_pool(folder, create=False, read_only=True) as pool:
        return folder / NEXT if _taken(folder, pool.list()) else folder


def switch(pool: Pool, space: Space, setup: PoolSetup, explained: Mapping[str, Explanation]) -> list[PoolRecord]:
    """Change space and explanations of a pool, if every record has its new explanation.

    Args:
        pool: with a folder.
        space: the new one.
        setup: what it was made with.
        explained: digest of an adapter -> its explanation in the new space; those of no record are passed over.

    Returns:
        Records that have none; then nothing was changed. Empty: it is done.

    Raises:
        PoolError: the pool is read only.
        StorageError, OSError: disk or database refused; the pool is the old one, or the new one.
    """
    assert pool.folder is not None
    with pool.artifacts.lock():
        records = pool.list()
        if waiting := [record for record in records if record.adapter not in explained]:
            return waiting
        _discard(pool.folder)
        write_setup(pool.folder / NEXT, setup)
        save_space(space, pool.folder / NEXT / SPACE_FILE)
        pool.catalog.explain_all({record.name: explained[record.adapter] for record in records})
        _put_in_place(pool.folder)
    return []


def finish(pool: Pool) -> None:
    """Go on where a switch was killed: forwards where the rows are changed already, else back."""
    folder = pool.folder
    if folder is None or not (folder / NEXT).is_dir():
        return
    with pool.artifacts.lock():
        if _taken(folder, pool.list()):
            _put_in_place(folder)
        else:
            _discard(folder)


def _taken(folder: Path, records: Iterable[PoolRecord]) -> bool:
    """Whether rows are explained in the space that was laid beside."""
    try:
        digest = load_space(folder / NEXT / SPACE_FILE).digest
    except SpaceError:  # none, or just taken away
        return False
    return any(record.explanation is not None and record.explanation.digests.space == digest for record in records)


def _put_in_place(folder: Path) -> None:
    write_setup(folder, read_setup_of(folder / NEXT))
    save_space(load_space(folder / NEXT / SPACE_FILE), folder / SPACE_FILE)
    _discard(folder)


def _discard(folder: Path) -> None:
    """The space first: without it nobody looks at the rest."""
    (folder / NEXT / SPACE_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / NEXT, ignore_errors=True)
