"""The table of a pool's catalog and the version of its layout. Knows SQLAlchemy; never opens a file."""

from __future__ import annotations

from pydantic import ValidationError
from sqlalchemy import JSON, BigInteger, Connection, Index, String, Text, func, inspect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from xpert.errors import PoolError, StorageError
from xpert.records import Explanation, PoolRecord

SCHEMA_VERSION = 1
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


Index("adapters_name_without_case", func.lower(AdapterRow.name), unique=True)


def to_row(record: PoolRecord) -> AdapterRow:
    """A record as a row."""
    plain = record.model_dump(exclude={"explanation", "target_modules"})
    return AdapterRow(
        **plain, target_modules=list(record.target_modules), explanation=explanation_text(record.explanation)
    )


def to_record(row: AdapterRow) -> PoolRecord:
    """A row as a record.

    Raises:
        StorageError: the row holds what no record may hold: something else than XPerT wrote it.
    """
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
        )
    except (ValidationError, TypeError) as error:
        raise StorageError(
            f"the catalog's row {row.name!r} cannot be read ({error}): restore the catalog from a copy"
        ) from error


def explanation_text(explanation: Explanation | None) -> str | None:
    """How an explanation stands in its column."""
    return None if explanation is None else explanation.model_dump_json()


def prepare(connection: Connection, place: str, *, create: bool) -> None:
    """Check the layout of an opened database inside a transaction; write it into an empty one.

    Args:
        connection: in a transaction that writes when `create` is true.
        place: how errors name the database.
        create: whether an empty database becomes a catalog.

    Raises:
        PoolError: another layout, or no catalog at all.
    """
    version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    if version == SCHEMA_VERSION:
        return
    if version == 0 and create and not inspect(connection).get_table_names():
        Table.metadata.create_all(connection)
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return
    if version > SCHEMA_VERSION:
        raise PoolError(
            f"catalog {place} has layout {version}, this XPerT knows up to {SCHEMA_VERSION}: a newer one wrote it; "
            "install a newer XPerT, or give another pool"
        )
    raise PoolError(
        f"{place} has layout {version}, not {SCHEMA_VERSION}: it is no catalog of a pool; give the folder of a pool, "
        "or a new one"
    )
