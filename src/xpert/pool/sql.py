"""A catalog in one SQLite file, for several processes of one machine.

Knows SQLAlchemy and SQLite; nothing of adapters. The file keeps SQLite's rollback journal: no side files stay
behind, so that a pool can be copied or packed into a package. Writers take the write lock when their transaction
begins and wait for one another, so that "database is locked" is met only after `busy_timeout_s`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine, event, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from xpert.errors import PoolError, StorageError
from xpert.pool.catalog import Records, refuse_duplicate, unknown
from xpert.pool.tables import AdapterRow, explanation_text, prepare, to_record, to_row
from xpert.records import Explanation, PoolRecord

_BEGIN = "xpert_begin"


class SqlCatalog:
    """`Catalog` in a SQLite file; its law is in `xpert.pool.catalog`.

    Args:
        path: the file; made when missing, unless `read_only`.
        read_only: opened without ever writing, also from a file system that allows none.
        busy_timeout_s: how long another process's transaction is waited for.

    Raises:
        PoolError: not a catalog, of a newer layout, or missing and `read_only`.
        StorageError: the file cannot be opened.
    """

    def __init__(self, path: Path, *, read_only: bool = False, busy_timeout_s: float = 30.0) -> None:
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
            prepare(session.connection(), str(self.path), create=not read_only)

    def add(self, record: PoolRecord) -> None:
        """Add a record; see `Catalog.add`."""
        with self._session(write=True) as session:
            same = or_(func.lower(AdapterRow.name) == record.name.lower(), AdapterRow.adapter == record.adapter)
            refuse_duplicate(
                record.name, record.adapter, map(to_record, session.scalars(select(AdapterRow).where(same)))
            )
            session.add(to_row(record))

    def explain(self, name: str, explanation: Explanation | None) -> PoolRecord:
        """Replace the explanation of a record; see `Catalog.explain`."""
        with self._session(write=True) as session:
            row = _row(session, name)
            row.explanation = explanation_text(explanation)
            return to_record(row)

    def explain_all(self, explanations: Mapping[str, Explanation]) -> None:
        """Replace the explanations of several records; see `Catalog.explain_all`."""
        with self._session(write=True) as session:
            for name, explanation in explanations.items():
                _row(session, name).explanation = explanation_text(explanation)

    def get(self, name: str) -> PoolRecord:
        """The record of this name; see `Catalog.get`."""
        with self._session(write=False) as session:
            return to_record(_row(session, name))

    def list(self) -> Records:
        """All records by name; see `Catalog.list`."""
        with self._session(write=False) as session:
            return sorted(map(to_record, session.scalars(select(AdapterRow))), key=lambda record: record.name)

    def remove(self, name: str) -> PoolRecord:
        """Remove a record; see `Catalog.remove`."""
        with self._session(write=True) as session:
            row = _row(session, name)
            record = to_record(row)
            session.delete(row)
            return record

    def close(self) -> None:
        """Give back the connections."""
        self.engine.dispose()

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
        except (SQLAlchemyError, sqlite3.Error, UnicodeError) as error:
            cause = getattr(error, "orig", None) or error
            raise StorageError(
                f"catalog {self.path} refused ({cause}); nothing was changed: {_way_out(str(cause))}"
            ) from error


def _begin(connection: Connection) -> None:
    kind = connection.get_execution_options().get(_BEGIN, "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {kind}")


def _row(session: Session, name: str) -> AdapterRow:
    row = session.get(AdapterRow, name) if name.isascii() else None  # ours are ASCII, and SQLite takes no surrogates
    if row is None:
        raise unknown(name, session.scalars(select(AdapterRow.name)))
    return row


def _way_out(cause: str) -> str:
    if "full" in cause:
        return "free space on its disk and try again"
    if "locked" in cause or "busy" in cause:
        return "another process is writing; try again when it is done"
    if "not a database" in cause or "malformed" in cause:
        return "restore the file from a copy, or give another folder"
    if "unable to open" in cause or "readonly" in cause:
        return "check that the folder exists and that you may write to it"
    return "check its disk and rights"
