"""Publishing an adapter: bytes before rows.

Knows the order of the steps; what is a fitting adapter is decided in `xpert.models.adapters`, and how one is explained
by the callable that is given. At every moment, also after a kill, a row is visible only with its files.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from xpert.errors import MismatchError, PoolError, StorageError
from xpert.pool.artifacts import ArtifactStore
from xpert.pool.catalog import Catalog, refuse_duplicate
from xpert.pool.checking import Checked, check_adapter, with_card
from xpert.pool.names import check_name
from xpert.printing import printable
from xpert.records import Explanation, PoolRecord


def publish(
    catalog: Catalog,
    artifacts: ArtifactStore,
    adapter_folder: Path,
    *,
    base_folder: Path,
    base_name: str,
    name: str,
    explain: Callable[[Path], Explanation] | None,
    note: str,
) -> PoolRecord:
    """Check an adapter, explain it, and publish it; see `Pool.add`."""
    check_name(name)
    facts = check_adapter(adapter_folder, base_folder)
    record = PoolRecord(
        name=name,
        adapter=facts.digest,
        base=facts.base,
        base_name=printable(base_name),
        rank=facts.rank,
        target_modules=facts.target_modules,
        size_bytes=facts.size_bytes,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        note=printable(note),
    )
    _refuse(catalog, record)
    if explain is not None:
        record = record.model_copy(update={"explanation": explain(facts.folder)})
    return _publish(catalog, artifacts, record, facts)


def _refuse(catalog: Catalog, record: PoolRecord) -> None:
    """Duplicates, and a base other than the pool's."""
    rows = catalog.list()
    refuse_duplicate(record.name, record.adapter, rows)
    for row in rows:
        if row.base != record.base:
            raise MismatchError(
                f"the pool is for base {row.base_name} ({row.base[:12]}…), {record.name!r} belongs to "
                f"{record.base_name} ({record.base[:12]}…): coefficients of different bases do not compare; make a "
                "pool of its own for this base"
            )


def _refuse_other_space(catalog: Catalog, record: PoolRecord) -> None:
    """An explanation in a space that the pool had: selecting would end in an error for everyone."""
    spaces = {row.explanation.digests.space for row in catalog.list() if row.explanation is not None}
    if record.explanation is not None and spaces and record.explanation.digests.space not in spaces:
        raise MismatchError(
            f"{record.name!r} is explained in space {record.explanation.digests.space[:12]}, the pool's pLLMs in "
            f"{min(spaces)[:12]}: its space was rebuilt meanwhile; add {record.name!r} again"
        )


def _publish(catalog: Catalog, artifacts: ArtifactStore, record: PoolRecord, facts: Checked) -> PoolRecord:
    """Bytes, then the row. Checked again under the lock: explaining took time, and others publish too."""
    with artifacts.lock(), with_card(facts) as (folder, files):
        _refuse(catalog, record)
        _refuse_other_space(catalog, record)
        was_there = artifacts.has(record.adapter)
        try:
            artifacts.put(folder, files, expected=facts.digest)
            card = artifacts.card_digest(record.adapter)
            catalog.add(record := record.model_copy(update={"card": card}))
            artifacts.spare(record.adapter)
        except BaseException:
            if not was_there:
                _take_back(catalog, artifacts, record.adapter)
            raise
    return record


def _take_back(catalog: Catalog, artifacts: ArtifactStore, digest: str) -> None:
    """Delete bytes that no row names, and that were just put. Where that cannot be found out they stay."""
    try:
        if not any(row.adapter == digest for row in catalog.list()):
            artifacts.delete(digest)
    except (PoolError, StorageError):
        return
