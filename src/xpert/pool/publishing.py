"""Adding to a pool, removing from it and explaining it anew: bytes before rows, rows before bytes are taken away.

Knows the order of the steps; what is a fitting adapter is decided in `xpert.models.adapters`, and how one is explained
by the callable that is given. At every moment, also after a kill, a row is visible only with its files.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from xpert.errors import MismatchError, PoolError, StorageError
from xpert.models.adapters import ADAPTER_FILES, CARD, check_fit, inspect_adapter
from xpert.models.image_adapters import check_image_fit, inspect_image_adapter
from xpert.models.pipelines import is_pipeline, pipeline_digest
from xpert.models.reference import model_digest
from xpert.pool.artifacts import ArtifactStore
from xpert.pool.catalog import Catalog, Records, refuse_duplicate
from xpert.pool.reindexing import ReindexReport, explain_each, sweep
from xpert.printing import printable
from xpert.records import Explanation, PoolRecord

CATALOG_FILE = "catalog.sqlite"
ARTIFACTS_FOLDER = "artifacts"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Checked:
    """An adapter that fits its base: of a language model or of a pipeline, whichever the base is."""

    folder: Path
    files: tuple[str, ...]
    digest: str
    base: str
    rank: int
    target_modules: tuple[str, ...]
    size_bytes: int
    card: Path | None


def _checked(adapter_folder: Path, base_folder: Path) -> _Checked:
    if is_pipeline(base_folder):
        image = inspect_image_adapter(adapter_folder)
        check_image_fit(image, base_folder)
        return _Checked(
            image.folder,
            image.files,
            image.digest,
            pipeline_digest(base_folder),
            image.rank,
            image.target_modules,
            image.size_bytes,
            image.card,
        )
    facts = inspect_adapter(adapter_folder)
    check_fit(facts, base_folder)
    return _Checked(
        facts.folder,
        ADAPTER_FILES,
        facts.digest,
        model_digest(base_folder),
        facts.rank,
        facts.target_modules,
        facts.size_bytes,
        card if (card := facts.folder / CARD).is_file() else None,
    )


@contextmanager
def _with_card(facts: _Checked) -> Iterator[tuple[Path, list[str]]]:
    """One folder with everything that is published, and its names; where the card lies elsewhere, made of links."""
    names = list(facts.files)
    if facts.card is None:
        yield facts.folder, names
    elif facts.card.parent == facts.folder:
        yield facts.folder, [*names, CARD]
    else:
        with tempfile.TemporaryDirectory(prefix="xpert-publishing-") as place:
            for file in (*(facts.folder / name for name in names), facts.card):
                try:
                    os.symlink(file.resolve(), Path(place) / file.name)
                except OSError:  # Windows lets only some people link
                    shutil.copyfile(file, Path(place) / file.name)
            yield Path(place), [*names, CARD]


def check_name(name: str) -> None:
    """The rule for names in a pool: they are file names on every system.

    Raises:
        PoolError: not 1 to 80 letters, digits, dots, dashes and underscores that start with a letter or digit and do
            not end with a dot, or a name that Windows keeps for devices.
    """
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise PoolError(
            f"{name[:100]!r} cannot be a name in a pool: 1 to 80 letters, digits, '.', '-' and '_' are allowed, a "
            "letter or digit first, no dot last, as in 'poet-7b'"
        )
    if _RESERVED.fullmatch(name):
        first, dot, rest = name.partition(".")
        raise PoolError(
            f"{name!r} cannot be a name in a pool: Windows keeps it for a device; add a word, as in "
            f"'{first}-1{dot}{rest}'"
        )


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
        facts = _checked(adapter_folder, base_folder)
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
        self._publish(record, facts)
        return record

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

    def _publish(self, record: PoolRecord, facts: _Checked) -> None:
        """Bytes, then the row. Checked again under the lock: explaining took time, and others publish too."""
        with self.artifacts.lock(), _with_card(facts) as (folder, files):
            self._refuse(record)
            self._refuse_other_space(record)
            try:
                self.artifacts.put(folder, files, expected=facts.digest)
                self.catalog.add(record)
            except BaseException:
                self._take_back(record.adapter)
                raise

    def _take_back(self, digest: str) -> None:
        """Delete bytes that no row names. Where that cannot be found out they stay: without a row nobody sees them."""
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
            StorageError: its files are missing.
        """
        record = self.catalog.get(name)
        if not self.artifacts.has(record.adapter):
            raise StorageError(
                f"the files of {name!r} are missing from {self.artifacts.folder} (digest {record.adapter[:12]}…): "
                "restore them from a copy, or remove the pLLM and add it again"
            )
        return self.artifacts.path(record.adapter)

    def remove(self, name: str) -> PoolRecord:
        """Take a pLLM out of the pool: the row, then its files.

        Raises:
            NotInPoolError: the pool does not have it.
            StorageError: disk or database refused; the text says whether the row is gone.
        """
        self._must_write("remove from")
        with self.artifacts.lock():
            record = self.catalog.remove(name)
            try:
                self.artifacts.delete(record.adapter)
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
        """Explain every pLLM anew, and delete artifacts that no row names.

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
        return ReindexReport(explained, swept)

    def intact(self) -> tuple[Records, tuple[str, ...]]:
        """All records, seen to have whole files, and the digests of artifacts that no row named, which it deletes.

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
        PoolError: no pool there and none to be made, or one that this version cannot read.
        StorageError: disk or database refused.
    """
    from xpert.pool.sql import SqlCatalog
    from xpert.pool.switching import finish

    place = Path(folder).expanduser()
    if (read_only or not create) and not (place / CATALOG_FILE).is_file():
        raise PoolError(f"no pool in {place}: it holds no {CATALOG_FILE}; give the folder of a pool, or make one first")
    artifacts = ArtifactStore(place / ARTIFACTS_FOLDER, read_only=read_only)
    catalog = SqlCatalog(place / CATALOG_FILE, read_only=read_only)
    pool = Pool(catalog=catalog, artifacts=artifacts, folder=place, read_only=read_only)
    if not read_only:
        finish(pool)
    return pool
