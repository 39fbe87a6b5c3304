"""Explaining the pLLMs of a pool anew, while others may remove some of them.

Knows rows, and whether their files are whole; how one is explained is the matter of the callable that is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xpert.errors import NotInPoolError, StorageError
from xpert.pool.artifacts import ArtifactStore
from xpert.pool.catalog import Catalog, Records
from xpert.pool.setup import is_space
from xpert.records import Explanation, PoolRecord


@dataclass(frozen=True, slots=True)
class ReindexReport:
    """What `Pool.reindex` did.

    Attributes:
        explained: names that have a new explanation.
        swept: digests of artifacts that a removal had left behind; they were deleted.
        orphans: digests of artifacts that no row names; they stay, since they may be somebody's.
    """

    explained: tuple[str, ...]
    swept: tuple[str, ...]
    orphans: tuple[str, ...] = ()


def finish_removals(catalog: Catalog, artifacts: ArtifactStore) -> tuple[str, ...]:
    """Delete what was noted to go and what the catalog does not name, of killed removals too. Under the store's lock.

    Returns:
        Their digests.
    """
    named = {record.adapter for record in catalog.list()} | {catalog.space()}
    swept = []
    for digest in artifacts.doomed():
        if digest not in named and artifacts.has(digest):
            artifacts.delete(digest)
            swept.append(digest)
        artifacts.spare(digest)
    return tuple(swept)


def orphans_of(records: Records, artifacts: ArtifactStore) -> tuple[str, ...]:
    """Digests of adapters that none of the records names."""
    unnamed = set(artifacts.digests()) - {record.adapter for record in records}
    return tuple(sorted(digest for digest in unnamed if not is_space(artifacts.path(digest))))


def sweep(catalog: Catalog, artifacts: ArtifactStore) -> tuple[Records, tuple[str, ...]]:
    """Finish removals, and see that the files of all rows are whole.

    An artifact that no row names stays: its row may have been lost with the catalog.

    Returns:
        The records, all with their files, and the digests of what was deleted.

    Raises:
        StorageError: files of a row are missing or damaged.
    """
    with artifacts.lock():
        records = catalog.list()
        swept = finish_removals(catalog, artifacts)
    faulty = [record for record in records if not artifacts.verify(record.adapter)]
    broken = [record.name for record in faulty if _is_there(catalog, record)]
    if broken:
        others = orphans_of(records, artifacts)
        more = f" (it holds {len(others)} that no row names: was the catalog exchanged?)" if others else ""
        raise StorageError(
            f"files of {', '.join(broken)} are missing or damaged in {artifacts.folder}{more}: restore them from a "
            "copy, or remove these pLLMs and add them again; where the catalog is another pool's, `xpert pool restore "
            f"--anew --pool {artifacts.folder.parent}` makes one for these adapters"
        )
    return [record for record in records if record not in faulty], swept


def explain_each(
    records: Records,
    catalog: Catalog,
    artifacts: ArtifactStore,
    explain: Callable[[Path], Explanation],
    on_progress: Callable[[str, int, int], None] | None = None,
) -> tuple[str, ...]:
    """Explain record by record, each committed by itself; returns the names of those that were still there."""
    explained: list[str] = []
    for done, record in enumerate(records):
        if on_progress is not None:
            on_progress("explain", done, len(records))
        explanation = explain_if_there(record, catalog, artifacts, explain)
        if explanation is None:
            continue
        try:
            catalog.explain(record.name, explanation)
        except NotInPoolError:
            continue
        explained.append(record.name)
    if on_progress is not None:
        on_progress("explain", len(records), len(records))
    return tuple(explained)


def explain_if_there(
    record: PoolRecord, catalog: Catalog, artifacts: ArtifactStore, explain: Callable[[Path], Explanation]
) -> Explanation | None:
    """The explanation of a record's adapter; None where it was removed before its files were read."""
    try:
        if not artifacts.is_sound(record.adapter):
            raise damaged(record.name, record.adapter, artifacts)
        return explain(artifacts.path(record.adapter))
    except Exception:
        if _is_there(catalog, record):
            raise
        return None


def damaged(name: str, digest: str, artifacts: ArtifactStore) -> StorageError:
    """The error of a pLLM whose files are not those that were published."""
    return StorageError(
        f"the files of {name!r} in {artifacts.path(digest)} are not those that were added: they were damaged; restore "
        "them from a copy, or remove the pLLM and add it again"
    )


def _is_there(catalog: Catalog, record: PoolRecord) -> bool:
    return any(row.adapter == record.adapter for row in catalog.list())
