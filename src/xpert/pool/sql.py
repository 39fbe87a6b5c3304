"""A catalog in one SQLite file, for several processes of one machine.

Knows SQLAlchemy and SQLite; nothing of adapters. The file keeps SQLite's rollback journal: no side files stay
behind, so that a pool can be copied or packed into a package. Writers take the write lock when their transaction
begins and wait for one another, so that "database is locked" is met only after `busy_timeout_s`. What changed on the
disk is noticed: SQLite checks its structure when a catalog is opened, and every row has a checksum.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, create_engine, event, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from xpert.errors import PoolError, StorageError, XpertError
from xpert.pool.catalog import Records, refuse_duplicate, unknown
from xpert.pool.losses import SIDE_FILES, adapters_beside, way_back
from xpert.pool.names import check_name
from xpert.pool.tables import (
    AdapterRow,
    ChecksumRow,
    SpaceRow,
    checksum_of,
    explanation_text,
    named_space,
    prepare,
    space_values,
    to_record,
    to_row,
)
from xpert.records import Explanation, PoolRecord

_BEGIN = "xpert_begin"
_SOUND: set[tuple[str, int, int]] = set()
"""Files that this process saw to be sound: path, size and time."""


class SqlCatalog:
    """`Catalog` in a SQLite file; its law is in `xpert.pool.catalog`.

    Args:
        path: the file; made when missing, unless `read_only`.
        read_only: opened without ever writing, also from a file system that allows none.
        busy_timeout_s: how long another process's transaction is waited for.
        may_create: whether an empty file becomes a catalog; asked while nobody else writes.
        space: what a catalog that is made names as its space.

    Raises:
        PoolError: not a catalog, of a newer layout, or missing and `read_only`.
        StorageError: the file cannot be opened, or is damaged.
    """

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        busy_timeout_s: float = 30.0,
        may_create: Callable[[], bool] = lambda: True,
        space: str | None = None,
    ) -> None:
        self.path = path.absolute()
        self._read_only = read_only
        if read_only and not self.path.is_file():
            raise PoolError(f"no catalog {self.path}: give the folder of a pool")
        uri = f"{self.path.as_uri()}?mode={'ro' if read_only else 'rwc'}"

        def connect() -> sqlite3.Connection:
            # isolation_level None: Python begins no transaction of its own; `_begin` does.
            return sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)

        self.engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
        event.listen(self.engine, "begin", _begin)
        with self._session(write=not read_only) as session:
            self._check_structure(session.connection())
            layout = self._prepared(session.connection(), may_create, space)
        self._has_checksums = layout > 1

    def add(self, record: PoolRecord) -> None:
        """Add a record; see `Catalog.add`."""
        with self._session(write=True) as session:
            same = or_(func.lower(AdapterRow.name) == record.name.lower(), AdapterRow.adapter == record.adapter)
            refuse_duplicate(record.name, record.adapter, self._records(session, select(AdapterRow).where(same)))
            row = to_row(record)
            session.add_all([row, checksum_of(row, record.card)])

    def explain(self, name: str, explanation: Explanation | None) -> PoolRecord:
        """Replace the explanation of a record; see `Catalog.explain`."""
        with self._session(write=True) as session:
            return self._explained(session, name, explanation)

    def space(self) -> str | None:
        """The space of the pool; see `Catalog.space`."""
        with self._session(write=False) as session:
            try:
                return named_space(session.connection())
            except StorageError as error:
                raise StorageError(f"{error}: {way_back(self.path.parent)}") from error

    def change_space(self, space: str | None, explanations: Mapping[str, Explanation]) -> None:
        """Name another space and explain records in it; see `Catalog.change_space`."""
        with self._session(write=True) as session:
            for name, explanation in explanations.items():
                self._explained(session, name, explanation)
            session.merge(SpaceRow(**space_values(space)))

    def get(self, name: str) -> PoolRecord:
        """The record of this name; see `Catalog.get`."""
        with self._session(write=False) as session:
            return self._found(session, name)[2]

    def list(self) -> Records:
        """All records by name; see `Catalog.list`."""
        with self._session(write=False) as session:
            checksums = session.scalars(select(ChecksumRow)).all() if self._has_checksums else ()  # all at once
            found = self._records(session, select(AdapterRow))
            lost = {checksum.name for checksum in checksums} - {record.name for record in found}
            if lost:
                raise StorageError(f"catalog {self.path} lost {len(lost)} of its rows: {way_back(self.path.parent)}")
            return sorted(found, key=lambda record: record.name)

    def remove(self, name: str) -> PoolRecord:
        """Remove a record; see `Catalog.remove`."""
        with self._session(write=True) as session:
            row, checksum, record = self._found(session, name)
            for entry in (row, checksum):
                session.delete(entry)
            return record

    def close(self) -> None:
        """Give back the connections."""
        self.engine.dispose()

    def _records(self, session: Session, chosen: Select[Any]) -> Records:
        """The records of some rows, each compared with its checksum."""
        return [self._record(row, self._checksum(session, row.name)) for row in session.scalars(chosen)]

    def _found(self, session: Session, name: str) -> tuple[AdapterRow, ChecksumRow | None, PoolRecord]:
        """Row, checksum and record of a name.

        Raises:
            NotInPoolError: no record of this name.
            StorageError: the row is damaged.
        """
        row = session.get(AdapterRow, name) if name.isascii() else None  # ours are ASCII; SQLite takes no surrogates
        if row is None:
            raise unknown(name, session.scalars(select(AdapterRow.name)))
        checksum = self._checksum(session, name)
        return row, checksum, self._record(row, checksum)

    def _explained(self, session: Session, name: str, explanation: Explanation | None) -> PoolRecord:
        row, checksum, _ = self._found(session, name)
        row.explanation = explanation_text(explanation)
        assert checksum is not None  # whoever writes brings the layout up to date
        checksum.row = checksum_of(row, checksum.card).row
        return self._record(row, checksum)

    def _checksum(self, session: Session, name: str) -> ChecksumRow | None:
        if not self._has_checksums:
            return None
        found = session.get(ChecksumRow, name)
        return ChecksumRow(name=name, row="none", card=None) if found is None else found

    def _record(self, row: AdapterRow, checksum: ChecksumRow | None) -> PoolRecord:
        try:
            return to_record(row, checksum)
        except StorageError as error:
            raise StorageError(f"{error}: {way_back(self.path.parent)}") from error

    def _prepared(self, connection: Connection, may_create: Callable[[], bool], space: str | None) -> int:
        """Check the layout; where adapters lie beside a file that is no catalog, the error says how to rebuild it."""
        try:
            return prepare(connection, str(self.path), create=may_create, write=not self._read_only, space=space)
        except (PoolError, StorageError) as error:
            if not adapters_beside(self.path.parent):
                raise
            raise type(error)(f"{error}; if it should be a catalog: {way_back(self.path.parent)}") from error

    def _check_structure(self, connection: Connection) -> None:
        """See that SQLite finds no fault in the file; once per process, by size and time after that.

        Raises:
            StorageError: it does.
        """
        facts = self.path.stat()
        stamp = str(self.path), facts.st_size, facts.st_mtime_ns
        if stamp in _SOUND:
            return
        if connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one() != "ok":
            raise StorageError(f"catalog {self.path} is damaged: {way_back(self.path.parent)}")
        _SOUND.add(stamp)

    @contextmanager
    def _session(self, *, write: bool) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back on every error, closed in any case."""
        if write and self._read_only:
            raise PoolError(f"catalog {self.path} was opened to be read only: open a pool in a folder of your own")
        try:
            with Session(self.engine, expire_on_commit=False) as session:
                session.connection(execution_options={_BEGIN: "IMMEDIATE" if write else "DEFERRED"})
                yield session
                session.commit()
        except XpertError:
            raise
        except (SQLAlchemyError, sqlite3.Error, OSError, ValueError, TypeError) as error:
            cause = getattr(error, "orig", None) or error
            raise StorageError(
                f"catalog {self.path} refused ({_said(cause)}); nothing was changed: {self._way_out(cause)}"
            ) from error

    def _way_out(self, cause: BaseException) -> str:
        said = str(cause)
        if isinstance(cause, UnicodeEncodeError):
            return "give a text that is UTF-8"
        if "full" in said:
            return "free space on its disk and try again"
        if "locked" in said or "busy" in said:
            return "another process is writing; try again when it is done"
        if any(self.path.with_name(self.path.name + side).exists() for side in SIDE_FILES) and self._read_only:
            return (
                f"a change was killed; `xpert pool restore --pool {self.path.parent}`, or any command that changes the "
                "pool, takes it back"
            )
        if "unable to open" in said or "readonly" in said:
            return "check that the folder exists and that you may write to it"
        if "I/O" in said:
            return "check its disk and rights"
        return way_back(self.path.parent)


def _said(cause: BaseException) -> str:
    """What a library says, without values of rows."""
    return str(cause).splitlines()[0] if isinstance(cause, sqlite3.Error) else type(cause).__name__


def _begin(connection: Connection) -> None:
    kind = connection.get_execution_options().get(_BEGIN, "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {kind}")


def salvage(path: Path) -> Records:
    """What can still be read of a damaged catalog: rows that fit their checksums; of layout 1, without explanations.

    Never raises for what it finds in the file.
    """
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        with closing(connection):
            checksums = {
                row[0]: ChecksumRow(name=row[0], row=row[1], card=row[2]) for row in _rows(connection, ChecksumRow)
            }
            records = [_salvaged(values, checksums) for values in _rows(connection, AdapterRow)]
    except sqlite3.Error:
        return []
    unique: dict[str, PoolRecord] = {}
    for record in records:
        if record is not None and record.adapter not in {other.adapter for other in unique.values()}:
            unique.setdefault(record.name.lower(), record)
    return list(unique.values())


def _rows(connection: sqlite3.Connection, table: type[AdapterRow] | type[ChecksumRow]) -> list[tuple[Any, ...]]:
    """Rows of a table, as far as they can be read."""
    columns = ", ".join(column.key for column in table.__table__.columns)
    found: list[tuple[Any, ...]] = []
    with suppress(sqlite3.Error):
        for values in connection.execute(f"SELECT {columns} FROM {table.__tablename__} NOT INDEXED"):
            found.append(values)
    return found


def _salvaged(values: tuple[Any, ...], checksums: Mapping[str, ChecksumRow]) -> PoolRecord | None:
    told = dict(zip((column.key for column in AdapterRow.__table__.columns), values, strict=True))
    try:
        row = AdapterRow(**told | {"target_modules": json.loads(told["target_modules"])})
        if checksums:
            return to_record(row, checksums[row.name])
        row.explanation = None
        check_name(row.name)
        return to_record(row, None)
    except (XpertError, KeyError, ValueError, TypeError):
        return None
