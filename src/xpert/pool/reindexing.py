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
from xpert.records import Explanation, PoolRecord


@dataclass(frozen=True, slots=True)
class ReindexReport:
    """What `Pool.reindex` did.

    Attributes:
        explained: names that have a new explanation.
        swept: digests of artifacts that no row named; they were deleted.
    """

    explained: tuple[str, ...]
    swept: tuple[str, ...]


def sweep(catalog: Catalog, artifacts: ArtifactStore) -> tuple[Records, tuple[str, ...]]:
    """Delete artifacts that no row names, and see that all others are whole.

    Returns:
        The records, all with their files, and the digests of what was deleted.

    Raises:
        StorageError: files of a row are missing or damaged.
    """
    with artifacts.lock():
        records = catalog.list()
        orphans = sorted(set(artifacts.digests()) - {record.adapter for record in records})
        for digest in orphans:
            artifacts.delete(digest)
    faulty = [record for record in records if not artifacts.verify(record.adapter)]
    broken = [record.name for record in faulty if _is_there(catalog, record)]
    if broken:
        raise StorageError(
            f"files of {', '.join(broken)} are missing or damaged in {artifacts.folder}: restore them from a "
            "copy, or remove these pLLMs and add them again"
        )
    return [record for record in records if record not in faulty], tuple(orphans)


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
        return explain(artifacts.path(record.adapter))
    except Exception:
        if _is_there(catalog, record):
            raise
        return None


def _is_there(catalog: Catalog, record: PoolRecord) -> bool:
    return any(row.adapter == record.adapter for row in catalog.list())
