"""A lost or damaged catalog comes back from the adapters beside it, and rows that are missing from a whole one.

Bytes and cards lie in the artifacts; names come from what can still be read of the catalog, else from the cards, else
from the digests. Nothing is deleted: the old catalog is kept aside, and what cannot get a row stays where it is.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from xpert.errors import MismatchError, ModelError, PoolError, SpaceError, XpertError
from xpert.models.cards import CARD
from xpert.pool.artifacts import ArtifactStore
from xpert.pool.catalog import Records
from xpert.pool.checking import check_adapter, describe_adapter
from xpert.pool.losses import ARTIFACTS_FOLDER, CATALOG_FILE, SIDE_FILES
from xpert.pool.names import check_name
from xpert.pool.old_spaces import old_space
from xpert.pool.setup import SPACE_FILE, read_setup
from xpert.pool.spaces import spaces_in
from xpert.pool.sql import SqlCatalog, salvage
from xpert.printing import printable
from xpert.records import PoolRecord
from xpert.space.storing import load_space
from xpert.writing import disk_refusals, name_aside, sync_to_disk

CatalogState = Literal["whole", "missing", "empty", "damaged", "set aside"]

_HEADING = re.compile(r"^# +(\S.*)$", re.MULTILINE)
_CARD_CAP_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Base:
    """The base of a pool: its digest, how people call it, and its folder where it is to be compared."""

    digest: str
    name: str
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What `restore` found, and did unless it was told to look only.

    Attributes:
        catalog: how the catalog was; "set aside": it could be read, and was not wanted.
        kept: names of rows that were there or could still be read.
        restored: (name, digest) of adapters that have a row again, without an explanation.
        left: (digest, why) of adapters that have none.
        missing: names of rows whose files are missing or damaged.
        space: digest of the space that the catalog names again; None: it names what it named.
        aside: where the old catalog lies now; None: it stays in its place.
    """

    catalog: CatalogState
    kept: tuple[str, ...]
    restored: tuple[tuple[str, str], ...]
    left: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    aside: Path | None
    space: str | None = None


def restore(folder: Path, base: Base | None = None, *, anew: bool = False, dry: bool = False) -> Restored:
    """Give every whole adapter of a pool a row; explanations come back by reindexing.

    Args:
        folder: of the pool.
        base: that the adapters belong to; None: that of rows that are left, or of the pool's space.
        anew: make a new catalog even where the old one can be read, as one of another pool can.
        dry: change nothing.

    Raises:
        PoolError: there is neither a catalog nor an adapter, or a newer version wrote the catalog.
        MismatchError: rows that are left are of another base.
        StorageError: disk or database refused.
    """
    catalog = folder / CATALOG_FILE
    if not catalog.is_file() and not (folder / ARTIFACTS_FOLDER).is_dir():
        raise PoolError(f"no pool in {folder}: it holds neither a {CATALOG_FILE} nor {ARTIFACTS_FOLDER}; give another")
    store = ArtifactStore(folder / ARTIFACTS_FOLDER, read_only=dry or not (folder / ARTIFACTS_FOLDER).is_dir())
    with nullcontext() if store.read_only else store.lock():
        state, rows, named = _read(catalog, anew)
        whole = state == "whole"
        if base is not None and rows and rows[0].base != base.digest:
            raise MismatchError(
                f"the catalog's rows are for base {rows[0].base_name} ({rows[0].base[:12]}…), --base names "
                f"{base.digest[:12]}…: leave --base out, or set the catalog aside with --anew"
            )
        spaces, digests = (spaces_in(store), set(store.digests())) if store.folder.is_dir() else ((), set[str]())
        sound = {digest for digest in digests if store.verify(digest)}
        missing = tuple(row.name for row in rows if row.adapter not in sound)
        if not whole:
            rows = [row for row in rows if row.adapter in sound]
        space = None if named in sound else _space(store, [digest for digest in spaces if digest in sound], rows)
        current = space or named
        base = base or _known_base(rows, old_space(folder, lambda: rows) if current is None else store.path(current))
        unnamed = sorted(digests - {row.adapter for row in rows} - set(spaces))
        new, left = _new_rows(store, unnamed, sound, rows, base)
        aside = None
        if whole and not dry:
            _add(catalog, new, space)
        elif not dry:
            aside = _replace(catalog, [*rows, *new], current)
    kept = tuple(row.name for row in rows)
    return Restored(state, kept, tuple((row.name, row.adapter) for row in new), left, missing, aside, space)


def _read(catalog: Path, anew: bool) -> tuple[CatalogState, Records, str | None]:
    """How a catalog is, its rows, or what can be read of them, and the space that it names.

    Raises:
        PoolError: a newer version wrote it.
    """
    if not catalog.is_file():
        return "missing", [], None
    if catalog.stat().st_size == 0:
        return "empty", [], None
    if anew:
        return "set aside", [], None
    try:
        return "whole", *_listed(catalog, read_only=True)
    except XpertError as error:
        if "a newer one wrote it" in str(error):
            raise PoolError(
                f"catalog {catalog} has a layout of a newer XPerT: install that, or set the catalog aside with --anew"
            ) from error
        if "another process" in str(error):
            raise
    with tempfile.TemporaryDirectory(prefix="xpert-catalog-") as room:  # SQLite repairs what it opens: only a copy
        copy = Path(room) / CATALOG_FILE
        for side in ("", *SIDE_FILES):
            if (given := catalog.with_name(catalog.name + side)).is_file():
                shutil.copyfile(given, copy.with_name(copy.name + side))
        try:
            return "whole", *_listed(copy, read_only=False)
        except XpertError:
            return "damaged", salvage(copy), None


def _listed(catalog: Path, *, read_only: bool) -> tuple[Records, str | None]:
    opened = SqlCatalog(catalog, read_only=read_only, may_create=lambda: False)
    try:
        return opened.list(), opened.space()
    finally:
        opened.close()


def _new_rows(
    store: ArtifactStore, digests: Iterable[str], sound: set[str], rows: Records, base: Base | None
) -> tuple[Records, tuple[tuple[str, str], ...]]:
    """Rows for adapters that have none, and why others get none."""
    doomed, taken = set(store.doomed()) if store.folder.is_dir() else set(), {row.name.lower() for row in rows}
    new: Records = []
    left: list[tuple[str, str]] = []
    for digest in digests:
        if digest not in sound:
            left.append((digest, "its files are not those that were added: they were damaged"))
        elif digest in doomed:
            left.append((digest, "its removal was begun, and is finished when the pool is changed next"))
        elif base is None:
            left.append((digest, "nothing says which base it belongs to: give --base MODEL"))
        else:
            try:
                new.append(record := _record(store, digest, base, taken))
                taken.add(record.name.lower())
            except ModelError as error:
                left.append((digest, printable(str(error), 300)))
    return new, tuple(left)


def _space(store: ArtifactStore, spaces: Iterable[str], rows: Records) -> str | None:
    """The one of whole spaces that rows are explained in; where no row is, the newest, before those noted to go."""
    wanted = {row.explanation.digests.space for row in rows if row.explanation is not None}
    doomed = set(store.doomed())
    fitting = []
    for digest in spaces:
        with suppress(SpaceError):
            if not wanted or load_space(store.path(digest) / SPACE_FILE).digest in wanted:
                fitting.append((digest not in doomed, store.path(digest).stat().st_mtime, digest))
    return max(fitting)[2] if fitting else None


def _known_base(rows: Records, space: Path | None) -> Base | None:
    """The base that rows name, else the one of the pool's space."""
    if rows:
        return Base(rows[0].base, rows[0].base_name)
    try:
        return None if space is None else Base(load_space(space / SPACE_FILE).base, read_setup(space).base)
    except (PoolError, SpaceError):
        return None


def _record(store: ArtifactStore, digest: str, base: Base, taken: set[str]) -> PoolRecord:
    """The row of an adapter.

    Raises:
        ModelError: it cannot be read, or belongs to another base.
    """
    folder = store.path(digest)
    facts = describe_adapter(folder, base.digest) if base.folder is None else check_adapter(folder, base.folder)
    return PoolRecord(
        name=_name(folder, digest, taken),
        adapter=digest,
        base=base.digest,
        base_name=base.name,
        rank=facts.rank,
        target_modules=facts.target_modules,
        size_bytes=facts.size_bytes,
        created=datetime.fromtimestamp(folder.stat().st_mtime, UTC).isoformat(timespec="seconds"),
        card=store.card_digest(digest),
    )


def _name(folder: Path, digest: str, taken: set[str]) -> str:
    """A free name: the heading of the card where it can be one, else of the digest."""
    name = f"adapter-{digest[:12]}"
    try:
        with (folder / CARD).open("rb") as stream:
            heading = _HEADING.search(stream.read(_CARD_CAP_BYTES).decode("utf-8", "replace"))
        if heading is not None:
            named = re.sub(r"[^A-Za-z0-9._-]+", "-", heading[1]).strip("-._")[:60].strip("-._")
            check_name(named)
            name = named
    except (OSError, PoolError):  # no card, or its heading is no name
        pass
    return f"{name}-{digest[:8]}" if name.lower() in taken else name


def _add(catalog: Path, new: Records, space: str | None) -> None:
    opened = SqlCatalog(catalog, may_create=lambda: False)
    try:
        for record in new:
            opened.add(record)
        if space is not None:
            opened.change_space(space, {})
    finally:
        opened.close()


def _replace(catalog: Path, rows: Records, space: str | None) -> Path | None:
    """A new catalog in the place of the old one, which is copied aside before; whole at every moment.

    Returns:
        Where the old one lies, or what SQLite had put beside it; None where there was neither.
    """
    with disk_refusals(catalog), _built(catalog, rows, space) as fresh:
        aside = None
        if any(catalog.with_name(catalog.name + side).is_file() for side in ("", *SIDE_FILES)):
            aside = _free_name(catalog)
            for side in (*SIDE_FILES, ""):  # the catalog last: a kill leaves it in its place, or all of it aside
                if (old := catalog.with_name(catalog.name + side)).is_file():
                    shutil.copyfile(old, aside.with_name(aside.name + side))
                    sync_to_disk(aside.with_name(aside.name + side))
            sync_to_disk(catalog.parent)
        for side in SIDE_FILES:  # SQLite would take them for the new catalog's
            catalog.with_name(catalog.name + side).unlink(missing_ok=True)
        os.replace(fresh, catalog)
        sync_to_disk(catalog.parent)
    return aside


@contextmanager
def _built(catalog: Path, rows: Records, space: str | None) -> Iterator[Path]:
    """A catalog of these rows beside its place, for the length of a block."""
    fresh = name_aside(catalog, "new")
    try:
        SqlCatalog(fresh).close()
        _add(fresh, rows, space)
        sync_to_disk(fresh)
        yield fresh
    finally:
        for side in ("", *SIDE_FILES):
            fresh.with_name(fresh.name + side).unlink(missing_ok=True)


def _free_name(catalog: Path) -> Path:
    """catalog.sqlite.old, or the first of .old-2, .old-3, ... that is free."""
    number = 1
    while True:
        name = catalog.with_name(f"{catalog.name}.old" + (f"-{number}" if number > 1 else ""))
        if not any(os.path.lexists(name.with_name(name.name + side)) for side in ("", *SIDE_FILES)):
            return name
        number += 1
