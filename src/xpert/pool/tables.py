"""The tables of a pool's catalog and the version of its layout. Knows SQLAlchemy; never opens a file.

Layout 1 has the table of adapters alone; layout 2 has a checksum of each of its rows beside it, so that a byte that
changed on the disk is noticed, and so is a row that is gone; layout 3 names the space of the pool.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from pydantic import ValidationError
from sqlalchemy import JSON, BigInteger, Connection, Index, String, Text, func, insert, inspect, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from xpert.errors import PoolError, StorageError
from xpert.records import Explanation, PoolRecord

SCHEMA_VERSION = 3
"""Written to SQLite's `PRAGMA user_version`. Raise it, and write a migration, with every change of the table."""


class Table(DeclarativeBase):
    """Root of the tables."""


class AdapterRow(Table):
    """One `PoolRecord`; the explanation is kept as its JSON text, which gives numbers back to the last bit."""

    __tablename__ = "adapters"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    adapter: Mapped[str] = mapped_column(String(64), unique=True)
    base: Mapped[str] = mapped_column(String(64))
    base_name: Mapped[str] = mapped_column(Text)
    rank: Mapped[int]
    target_modules: Mapped[list[str]] = mapped_column(JSON)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created: Mapped[str] = mapped_column(String(40))
    explanation: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text)


class ChecksumRow(Table):
    """SHA-256 of the row of a name, and of the card beside its adapter; since layout 2."""

    __tablename__ = "checksums"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    row: Mapped[str] = mapped_column(String(64))
    card: Mapped[str | None] = mapped_column(String(64))


class SpaceRow(Table):
    """The only row of its table: the artifact that is the space of the pool, and a checksum; since layout 3."""

    __tablename__ = "space"

    key: Mapped[int] = mapped_column(primary_key=True)
    artifact: Mapped[str | None] = mapped_column(String(64))
    checksum: Mapped[str] = mapped_column(String(64))


Index("adapters_name_without_case", func.lower(AdapterRow.name), unique=True)


def to_row(record: PoolRecord) -> AdapterRow:
    """A record as a row."""
    plain = record.model_dump(exclude={"explanation", "target_modules", "card"})
    return AdapterRow(
        **plain, target_modules=list(record.target_modules), explanation=explanation_text(record.explanation)
    )


def checksum_of(row: AdapterRow, card: str | None) -> ChecksumRow:
    """What goes beside a row; the digest is over its values, and that of the card, as JSON."""
    values = [getattr(row, column.key) for column in AdapterRow.__table__.columns]
    told = json.dumps([*values, card], default=repr)
    return ChecksumRow(name=row.name, row=hashlib.sha256(told.encode()).hexdigest(), card=card)


def to_record(row: AdapterRow, checksum: ChecksumRow | None) -> PoolRecord:
    """A row as a record.

    Args:
        row: as it was read.
        checksum: of it; None: the catalog is of layout 1.

    Raises:
        StorageError: a byte of the row changed, or it holds what no record may hold, as other programs may write it.
    """
    card = None if checksum is None else checksum.card
    if checksum is not None and checksum_of(row, card).row != checksum.row:
        raise StorageError(f"the catalog's row {row.name!r} cannot be read (it is another than was written)")
    try:
        return PoolRecord(
            name=row.name,
            adapter=row.adapter,
            base=row.base,
            base_name=row.base_name,
            rank=row.rank,
            target_modules=tuple(row.target_modules),
            size_bytes=row.size_bytes,
            created=row.created,
            explanation=None if row.explanation is None else Explanation.model_validate_json(row.explanation),
            note=row.note,
            card=card,
        )
    except (ValidationError, TypeError) as error:
        faults = error.error_count() if isinstance(error, ValidationError) else 1
        raise StorageError(f"the catalog's row {row.name!r} cannot be read ({faults} faults)") from error


def space_values(artifact: str | None) -> dict[str, object]:
    """The row that names a space, or that there is none."""
    return {"key": 1, "artifact": artifact, "checksum": hashlib.sha256(f"space {artifact}".encode()).hexdigest()}


def named_space(connection: Connection) -> str | None:
    """The artifact that is the space of the pool; None where there is none, or the layout names none.

    Raises:
        StorageError: the row is gone, or another than was written.
    """
    if layout_of(connection) < 3:
        return None
    row = connection.execute(select(SpaceRow.__table__)).mappings().one_or_none()
    if row is None or dict(row) != space_values(row["artifact"]):
        raise StorageError("the catalog's row of the space cannot be read (it is another than was written)")
    artifact: str | None = row["artifact"]
    return artifact


def explanation_text(explanation: Explanation | None) -> str | None:
    """How an explanation stands in its column."""
    return None if explanation is None else explanation.model_dump_json()


def layout_of(connection: Connection) -> int:
    """The layout that a database says it has."""
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def prepare(
    connection: Connection, place: str, *, create: Callable[[], bool], write: bool, space: str | None = None
) -> int:
    """Check the layout of an opened database inside a transaction; write it into an empty one, or bring it up to date.

    Args:
        connection: in a transaction that writes when `write` is true.
        place: how errors name the database.
        create: whether an empty database becomes a catalog.
        write: whether anything may be written.
        space: what an empty database names as the space of the pool.

    Returns:
        Its layout.

    Raises:
        PoolError: another layout, or no catalog at all.
        StorageError: the database is damaged, or empty where it must not be.
    """
    version = layout_of(connection)
    tables = inspect(connection).get_table_names()
    if version == 0 and not tables and write:
        if not create():
            raise StorageError(f"catalog {place} is empty, though there are adapters beside it: it was damaged")
        _complete(connection, space)
        return SCHEMA_VERSION
    if version > SCHEMA_VERSION:
        raise PoolError(
            f"catalog {place} has layout {version}, this XPerT knows up to {SCHEMA_VERSION}: a newer one wrote it; "
            "install a newer XPerT, or give another pool"
        )
    if version < 1 or AdapterRow.__tablename__ not in tables:
        raise PoolError(
            f"{place} has layout {version}, not {SCHEMA_VERSION}: it is no catalog of a pool; give the folder of a "
            "pool, or a new one"
        )
    if version < SCHEMA_VERSION and write:
        _complete(connection, None)
        if version < 2:
            _add_checksums(connection)
        return SCHEMA_VERSION
    return version


def _complete(connection: Connection, space: str | None) -> None:
    """Make the tables that are missing, and mark the layout."""
    Table.metadata.create_all(connection)
    connection.execute(insert(SpaceRow), space_values(space))
    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _add_checksums(connection: Connection) -> None:
    """Layout 1 to 2."""
    for values in connection.execute(select(AdapterRow.__table__)).mappings().all():
        checksum = checksum_of(AdapterRow(**values), None)
        connection.execute(insert(ChecksumRow), {"name": checksum.name, "row": checksum.row, "card": None})
