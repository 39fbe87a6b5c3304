"""Adding to a pool, removing from it and explaining it anew: bytes before rows, rows before bytes are taken away.

Knows the order of the steps; what is a fitting adapter is decided in `xpert.models.adapters`, and how one is explained
by the callable that is given. At every moment, also after a kill, a row is visible only with its files.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from xpert.errors import MismatchError, PoolError, StorageError
from xpert.pool.artifacts import ArtifactStore
from xpert.pool.catalog import Catalog, Records, refuse_duplicate
from xpert.pool.checking import Checked, check_adapter, with_card
from xpert.pool.losses import ARTIFACTS_FOLDER, CATALOG_FILE, adapters_beside, refuse_lost
from xpert.pool.names import check_name
from xpert.pool.reindexing import ReindexReport, damaged, explain_each, finish_removals, orphans_of, sweep
from xpert.printing import printable
from xpert.records import Explanation, PoolRecord


@dataclass(frozen=True)
class Pool:
    """pLLMs of one base model: records in a catalog, files in an artifact store.

    Use as a context manager, or call `close`.

    Attributes:
        catalog: the rows.
        artifacts: the bytes.
        folder: where both lie, None for a pool that was put together by hand.
        read_only: adding, removing and reindexing are refused.
    """

    catalog: Catalog
    artifacts: ArtifactStore
    folder: Path | None = None
    read_only: bool = False

    def add(
        self,
        adapter_folder: Path,
        *,
        base_folder: Path,
        base_name: str,
        name: str,
        explain: Callable[[Path], Explanation] | None = None,
        note: str = "",
    ) -> PoolRecord:
        """Check an adapter, explain it, and publish it; on any error or interrupt nothing is published.

        Args:
            adapter_folder: plain peft folder, or the LoRA or U-Net of a pipeline; it stays as it is.
            base_folder: model or pipeline folder of the base that it must belong to.
            base_name: how people call that base.
            name: name in the pool.
            explain: gives the explanation of the folder that is published, of a pipeline its U-Net's; None: publish
                without one.
            note: free text for people.

        Returns:
            The record as it stands in the catalog.

        Raises:
            PoolError: the name breaks the rule, or the pool is read only.
            DuplicateError: name or content is there already; found before `explain` is called.
            MissingModelError, DamagedModelError: the adapter cannot be read.
            MismatchError: the adapter does not belong to the base, or the pool has another base.
            StorageError: disk or database refused.
        """
        self._must_write("add to")
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
        self._refuse(record)
        if explain is not None:
            record = record.model_copy(update={"explanation": explain(facts.folder)})
        return self._publish(record, facts)

    def _refuse(self, record: PoolRecord) -> None:
        """Duplicates, and a base other than the pool's."""
        rows = self.catalog.list()
        refuse_duplicate(record.name, record.adapter, rows)
        for row in rows:
            if row.base != record.base:
                raise MismatchError(
                    f"the pool is for base {row.base_name} ({row.base[:12]}…), {record.name!r} belongs to "
                    f"{record.base_name} ({record.base[:12]}…): coefficients of different bases do not compare; make a "
                    "pool of its own for this base"
                )

    def _refuse_other_space(self, record: PoolRecord) -> None:
        """An explanation in a space that the pool had: selecting would end in an error for everyone."""
        spaces = {row.explanation.digests.space for row in self.catalog.list() if row.explanation is not None}
        if record.explanation is not None and spaces and record.explanation.digests.space not in spaces:
            raise MismatchError(
                f"{record.name!r} is explained in space {record.explanation.digests.space[:12]}, the pool's pLLMs in "
                f"{min(spaces)[:12]}: its space was rebuilt meanwhile; add {record.name!r} again"
            )

    def _publish(self, record: PoolRecord, facts: Checked) -> PoolRecord:
        """Bytes, then the row. Checked again under the lock: explaining took time, and others publish too."""
        with self.artifacts.lock(), with_card(facts) as (folder, files):
            self._refuse(record)
            self._refuse_other_space(record)
            was_there = self.artifacts.has(record.adapter)
            try:
                self.artifacts.put(folder, files, expected=facts.digest)
                card = self.artifacts.card_digest(record.adapter)
                self.catalog.add(record := record.model_copy(update={"card": card}))
                self.artifacts.spare(record.adapter)
            except BaseException:
                if not was_there:
                    self._take_back(record.adapter)
                raise
        return record

    def _take_back(self, digest: str) -> None:
        """Delete bytes that no row names, and that were just put. Where that cannot be found out they stay."""
        try:
            if not any(row.adapter == digest for row in self.catalog.list()):
                self.artifacts.delete(digest)
        except (PoolError, StorageError):
            return

    def list(self) -> Records:
        """All records, sorted by name."""
        return self.catalog.list()

    def get(self, name: str) -> PoolRecord:
        """The record of a name.

        Raises:
            NotInPoolError: the pool does not have it.
        """
        return self.catalog.get(name)

    def adapter_path(self, name: str) -> Path:
        """The adapter folder of a pLLM, to be read and never written to.

        Raises:
            NotInPoolError: the pool does not have it.
            StorageError: its files are missing or damaged; read once in a process, then only where they changed.
        """
        record = self.catalog.get(name)
        if not self.artifacts.has(record.adapter):
            raise StorageError(
                f"the files of {name!r} are missing from {self.artifacts.folder} (digest {record.adapter[:12]}…): "
                "restore them from a copy, or remove the pLLM and add it again"
            )
        other_card = record.card is not None and self.artifacts.card_digest(record.adapter) != record.card
        if other_card or not self.artifacts.is_sound(record.adapter):
            raise damaged(name, record.adapter, self.artifacts)
        return self.artifacts.path(record.adapter)

    def orphans(self) -> tuple[str, ...]:
        """Digests of adapters that no row names: their rows were lost, or publishing them was killed."""
        return orphans_of(self.catalog.list(), self.artifacts)

    def remove(self, name: str) -> PoolRecord:
        """Take a pLLM out of the pool: the row, then its files.

        Raises:
            NotInPoolError: the pool does not have it.
            StorageError: disk or database refused; the text says whether the row is gone.
        """
        self._must_write("remove from")
        with self.artifacts.lock():
            doomed = self.catalog.get(name).adapter
            self.artifacts.doom(doomed)
            try:
                record = self.catalog.remove(name)
            except Exception:
                self.artifacts.spare(doomed)
                raise
            try:
                self.artifacts.delete(doomed)
                self.artifacts.spare(doomed)
            except StorageError as error:
                raise StorageError(
                    f"{name!r} is no longer in the pool, but its files are still on the disk ({error}); reindexing the "
                    "pool deletes them"
                ) from error
        return record

    def reindex(
        self,
        explain: Callable[[Path], Explanation],
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> ReindexReport:
        """Explain every pLLM anew, and delete what killed removals left; artifacts that no row names stay.

        Every explanation is committed by itself: after an interrupt the pool holds old and new ones, each whole. A
        pLLM that is removed meanwhile is left out.

        Args:
            explain: gives the explanation of an adapter folder.
            on_progress: called with ("explain", done, total).

        Raises:
            PoolError: the pool is read only.
            StorageError: files of a row are missing or damaged; found before anything is explained.
        """
        records, swept = self.intact()
        explained = explain_each(records, self.catalog, self.artifacts, explain, on_progress)
        return ReindexReport(explained, swept, self.orphans())

    def intact(self) -> tuple[Records, tuple[str, ...]]:
        """All records, seen to have whole files, and the digests of what killed removals left, which it deletes.

        Raises:
            PoolError: the pool is read only.
            StorageError: files of a row are missing or damaged.
        """
        self._must_write("reindex")
        return sweep(self.catalog, self.artifacts)

    def close(self) -> None:
        """Give back files and connections."""
        self.catalog.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _must_write(self, verb: str) -> None:
        if self.read_only:
            raise PoolError(
                f"cannot {verb} pool {self.folder}: it was opened to be read only, as the pool inside the package is; "
                "make one of your own in another folder (`open_pool(folder)`), or copy this one there"
            )


def open_pool(folder: Path | str, create: bool = True, *, read_only: bool = False) -> Pool:
    """Open the pool of a folder; where a change of its space was killed, that is carried on or taken back.

    Args:
        folder: holds `catalog.sqlite`, `artifacts/` and, written by others, `space/`.
        create: make an empty pool when there is none.
        read_only: never write, also where the file system allows none.

    Raises:
        PoolError: no pool there and none to be made, or one that this version cannot read; or one without a catalog,
            whose adapters `xpert pool restore` brings back.
        StorageError: disk or database refused, or the catalog is damaged.
    """
    from xpert.pool.sql import SqlCatalog
    from xpert.pool.switching import finish

    place = Path(folder).expanduser()
    refuse_lost(place)
    if (read_only or not create) and not (place / CATALOG_FILE).is_file():
        raise PoolError(f"no pool in {place}: it holds no {CATALOG_FILE}; give the folder of a pool, or make one first")
    artifacts = ArtifactStore(place / ARTIFACTS_FOLDER, read_only=read_only)
    catalog = SqlCatalog(place / CATALOG_FILE, read_only=read_only, may_create=lambda: not adapters_beside(place))
    pool = Pool(catalog=catalog, artifacts=artifacts, folder=place, read_only=read_only)
    if not read_only:
        finish(pool)
        if artifacts.doomed():
            with artifacts.lock(), suppress(StorageError):  # a disk that refuses now refuses the next removal, too
                finish_removals(catalog, artifacts)
    return pool
