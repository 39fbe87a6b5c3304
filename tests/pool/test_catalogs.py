"""The law of catalogs, and what a SQLite file adds to it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from xpert.errors import PoolError, StorageError
from xpert.pool.catalog import Catalog
from xpert.pool.memory import MemoryCatalog
from xpert.pool.sql import SqlCatalog
from xpert.testing.catalogs import CatalogContract, sample_explanation, sample_record


class TestMemoryCatalog(CatalogContract):
    def make(self, folder: Path) -> Catalog:
        return MemoryCatalog()


class TestSqlCatalog(CatalogContract):
    durable = True

    def make(self, folder: Path) -> Catalog:
        return SqlCatalog(folder / "pool & co #1?.sqlite")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A catalog with one record."""
    place = tmp_path / "catalog.sqlite"
    catalog = SqlCatalog(place)
    catalog.add(sample_record(explanation=sample_explanation()))
    catalog.close()
    return place


def execute(file: Path, *statements: str) -> None:
    connection = sqlite3.connect(file)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_no_side_files_stay_behind(file: Path) -> None:
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_layout_of_a_newer_version(file: Path) -> None:
    execute(file, "PRAGMA user_version = 99")
    with pytest.raises(PoolError, match=r"layout 99, this XPerT knows up to 3.*install a newer XPerT"):
        SqlCatalog(file)


def test_database_of_something_else(tmp_path: Path) -> None:
    execute(tmp_path / "other.sqlite", "CREATE TABLE songs (title TEXT)")
    with pytest.raises(PoolError, match="no catalog of a pool"):
        SqlCatalog(tmp_path / "other.sqlite")
    assert sqlite3.connect(tmp_path / "other.sqlite").execute("SELECT name FROM sqlite_master").fetchall() == [
        ("songs",)
    ]


def test_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("not a database, " * 100)
    with pytest.raises(StorageError, match=r"not a database.*restore the file"):
        SqlCatalog(tmp_path / "text.sqlite")


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"unable to open.*check that the folder exists"):
        SqlCatalog(tmp_path / "nowhere" / "catalog.sqlite")


def test_row_that_another_program_spoiled(file: Path) -> None:
    execute(file, "UPDATE adapters SET explanation = '{}'")
    with pytest.raises(StorageError, match=r"row 'anna' cannot be read"):
        SqlCatalog(file).list()


def test_read_only(file: Path) -> None:
    before = file.read_bytes()
    catalog = SqlCatalog(file, read_only=True)
    assert catalog.list() == [sample_record(explanation=sample_explanation())]
    for change in (
        lambda: catalog.add(sample_record("bob")),
        lambda: catalog.explain("anna", None),
        lambda: catalog.remove("anna"),
    ):
        with pytest.raises(PoolError, match="read only"):
            change()
    catalog.close()
    assert file.read_bytes() == before


def test_read_only_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="no catalog"):
        SqlCatalog(tmp_path / "none.sqlite", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_changes_nothing(file: Path) -> None:
    catalog = SqlCatalog(file)

    def shrink(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite then says what it says on a full disk

    event.listen(catalog.engine, "connect", shrink)
    with pytest.raises(StorageError, match=r"disk is full.*nothing was changed.*free space"):
        catalog.add(sample_record("bob", note="x" * 100_000))
    event.remove(catalog.engine, "connect", shrink)
    assert [record.name for record in catalog.list()] == ["anna"]
    catalog.add(sample_record("bob", note="x" * 100_000))
    assert [record.name for record in catalog.list()] == ["anna", "bob"]


def test_busy_is_waited_for_and_then_said(file: Path) -> None:
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"locked.*another process is writing"):
        SqlCatalog(file, busy_timeout_s=0.1)
    other.execute("ROLLBACK")
    other.close()
    assert [record.name for record in SqlCatalog(file, busy_timeout_s=0.1).list()] == ["anna"]


def test_text_that_no_database_takes(file: Path) -> None:
    catalog = SqlCatalog(file)
    with pytest.raises(StorageError, match="nothing was changed"):
        catalog.add(sample_record("bob").model_copy(update={"note": "\ud800"}))
    assert [record.name for record in catalog.list()] == ["anna"]
