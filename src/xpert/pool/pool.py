"""A pool: its records, the files of its adapters, and the space that they are explained in.

At every moment, also after a kill, a row is visible only with its files, and rows only with their space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from xpert.errors import PoolError, StorageError, XpertError
from xpert.pool.artifacts import ArtifactStore
from xpert.pool.catalog import Catalog, Records
from xpert.pool.losses import ARTIFACTS_FOLDER, CATALOG_FILE, adapters_beside, refuse_lost
from xpert.pool.old_spaces import migrate, old_space
from xpert.pool.publishing import publish
from xpert.pool.reindexing import ReindexReport, damaged, explain_each, finish_removals, orphans_of, sweep
from xpert.pool.setup import SETUP_FILE, SPACE_FILE, PoolSetup, read_setup
from xpert.pool.spaces import change_space
from xpert.records import Explanation, PoolRecord
from xpert.space.basis import Space
from xpert.space.storing import load_space

T = TypeVar("T")


@dataclass(frozen=True)
class Pool:
    """pLLMs of one base model: records in a catalog, files and the space in an artifact store.

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
        return publish(
            self.catalog,
            self.artifacts,
            adapter_folder,
            base_folder=base_folder,
            base_name=base_name,
            name=name,
            explain=explain,
            note=note,
        )

    @property
    def has_space(self) -> bool:
        """Whether the pool was indexed, or made like one that was; then it has a setup."""
        folder = self.space_folder
        return folder is not None and (folder / SETUP_FILE).is_file()

    @property
    def space(self) -> Space:
        """The space that the rows are explained in, read from the disk each time.

        Raises:
            PoolError: the pool has none yet.
            SpaceError, StorageError: its files are missing or damaged.
        """
        return self._of_space(lambda folder: load_space(folder / SPACE_FILE))

    @property
    def setup(self) -> PoolSetup:
        """What the space was made with, read from the disk each time; raises as `space`."""
        return self._of_space(read_setup)

    def space_and_setup(self) -> tuple[Space, PoolSetup]:
        """Both, of one moment, also where another process changes the space; raises as `space`."""
        return self._of_space(lambda folder: (load_space(folder / SPACE_FILE), read_setup(folder)))

    def change_space(self, space: Space, setup: PoolSetup, explained: Mapping[str, Explanation]) -> Records:
        """Change the space and all explanations at once; see `xpert.pool.spaces.change_space`.

        Raises:
            PoolError: the pool is read only.
            StorageError: disk or database refused; the pool is the old one, or the new one.
        """
        self._must_write("reindex")
        return change_space(self.catalog, self.artifacts, space, setup, explained)

    @property
    def space_folder(self) -> Path | None:
        """Where the files of the space lie, to be read and never written to; None where the pool has none."""
        digest = self.catalog.space()
        if digest is not None:
            return self.artifacts.path(digest)
        return None if self.folder is None else old_space(self.folder, self.catalog.list)

    def _of_space(self, read: Callable[[Path], T]) -> T:
        """What is read from the folder of the space; read again where another process changed it meanwhile."""
        while True:
            folder = self.space_folder
            if folder is None:
                raise PoolError(
                    f"pool {self.folder} has no space yet: run `xpert pool reindex --pool {self.folder} --base MODEL` "
                    "with --summarizer MODEL, or with --clip MODEL for image models"
                )
            try:
                self._check_space(folder)
                return read(folder)
            except XpertError:
                if self.space_folder == folder:
                    raise

    def _check_space(self, folder: Path) -> None:
        if folder.parent == self.artifacts.folder and not self.artifacts.is_sound(folder.name):
            raise StorageError(
                f"the files of the pool's space in {folder} are missing, or not those that were written: restore them "
                "from a copy, or delete that folder and rebuild the space with `xpert pool reindex --base MODEL` and "
                "--summarizer MODEL, or --clip MODEL for image models"
            )

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
    """Open the pool of a folder; what a killed change left is finished or taken back, old layouts are migrated.

    Args:
        folder: holds `catalog.sqlite` and `artifacts/`.
        create: make an empty pool when there is none.
        read_only: never write, also where the file system allows none.

    Raises:
        PoolError: no pool there and none to be made, or one that this version cannot read; or one without a catalog,
            whose adapters `xpert pool restore` brings back.
        StorageError: disk or database refused, or the catalog is damaged.
    """
    from xpert.pool.sql import SqlCatalog

    place = Path(folder).expanduser()
    refuse_lost(place)
    if (read_only or not create) and not (place / CATALOG_FILE).is_file():
        raise PoolError(f"no pool in {place}: it holds no {CATALOG_FILE}; give the folder of a pool, or make one first")
    artifacts = ArtifactStore(place / ARTIFACTS_FOLDER, read_only=read_only)
    catalog = SqlCatalog(place / CATALOG_FILE, read_only=read_only, may_create=lambda: not adapters_beside(place))
    if not read_only:
        migrate(place, catalog, artifacts)
        if artifacts.doomed():
            with artifacts.lock(), suppress(StorageError):  # a disk that refuses it now is told of at the next removal
                finish_removals(catalog, artifacts)
    return Pool(catalog=catalog, artifacts=artifacts, folder=place, read_only=read_only)
