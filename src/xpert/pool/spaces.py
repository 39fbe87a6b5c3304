"""The space of a pool: an artifact like any other, which the catalog names.

It holds the basis and the setup. One transaction of the catalog names another space and explains all rows in it, so
that a reader sees old rows with the old space or new rows with the new one, whatever is killed. Both artifacts are
noted to go before, and `finish_removals` deletes the one that the catalog does not name. Loads no model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from xpert.errors import XpertError
from xpert.models.reference import folder_digest
from xpert.pool.artifacts import ArtifactStore
from xpert.pool.catalog import Catalog, Records
from xpert.pool.reindexing import finish_removals
from xpert.pool.setup import SPACE_FILE, SPACE_FILES, PoolSetup, is_space, write_setup
from xpert.records import Explanation
from xpert.space.basis import Space
from xpert.space.storing import save_space


def spaces_in(artifacts: ArtifactStore) -> tuple[str, ...]:
    """Digests of all spaces in a store, whoever names them."""
    return tuple(digest for digest in artifacts.digests() if is_space(artifacts.path(digest)))


def put_space(artifacts: ArtifactStore, space: Space, setup: PoolSetup) -> str:
    """Put a space into a store, under its lock; noted to go until a catalog names it.

    Raises:
        StorageError: the disk refused.
    """
    with tempfile.TemporaryDirectory(prefix="xpert-space-") as room:
        place = Path(room)
        save_space(space, place / SPACE_FILE)
        write_setup(place, setup)
        digest = folder_digest(place, ("*",))
        artifacts.doom(digest)
        return artifacts.put(place, SPACE_FILES, expected=digest)


def change_space(
    catalog: Catalog, artifacts: ArtifactStore, space: Space, setup: PoolSetup, explained: Mapping[str, Explanation]
) -> Records:
    """Change the space and all explanations of a pool, if every record has its new explanation.

    Args:
        catalog: the rows.
        artifacts: where the old space lies, and the new one is put.
        space: the new one.
        setup: what it was made with.
        explained: digest of an adapter -> its explanation in the new space; those of no record are passed over.

    Returns:
        Records that have none; then nothing was changed. Empty: it is done.

    Raises:
        StorageError: disk or database refused; the pool is the old one, or the new one.
    """
    with artifacts.lock():
        records = catalog.list()
        if waiting := [record for record in records if record.adapter not in explained]:
            return waiting
        try:
            for old in spaces_in(artifacts):
                artifacts.doom(old)
            digest = put_space(artifacts, space, setup)
            catalog.change_space(digest, {record.name: explained[record.adapter] for record in records})
        finally:
            with suppress(XpertError):  # what a disk refuses now goes when the pool is opened next
                finish_removals(catalog, artifacts)
    return []
