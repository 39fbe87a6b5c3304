"""Whatever becomes of a catalog, no adapter is deleted, and each comes back."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from xpert.errors import DuplicateError, MismatchError, PoolError, StorageError, XpertError
from xpert.models.adapters import ADAPTER_FILES
from xpert.models.reference import model_digest
from xpert.pool import Pool, open_pool
from xpert.pool.discarding import discard
from xpert.pool.losses import CATALOG_FILE
from xpert.pool.restoring import Base, restore
from xpert.testing.catalogs import sample_explanation
from xpert.testing.tiny import tiny_adapter, tiny_base

NAMES = ("anna", "bob", "carl")
Spoil = Callable[[Path, Path], None]


def add(pool: Pool, adapter: Path, base: Path, name: str) -> None:
    pool.add(adapter, base_folder=base, base_name="tiny", name=name, explain=lambda _: sample_explanation())


@pytest.fixture
def folder(base: Path, adapters: list[Path], tmp_path: Path) -> Path:
    with open_pool(tmp_path / "pool") as pool:
        for name, adapter in zip(NAMES, adapters, strict=True):
            add(pool, adapter, base, name)
    return tmp_path / "pool"


@pytest.fixture(scope="session")
def other_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog of another pool, of another base."""
    room = tmp_path_factory.mktemp("other")
    base = tiny_base(room / "base", seed=5)
    with open_pool(room / "pool") as pool:
        add(pool, tiny_adapter(base, room / "adapter", seed=9), base, "zoe")
    return room / "pool" / CATALOG_FILE


def contents(folder: Path) -> dict[str, str]:
    return {
        f"{file.parent.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (folder / "artifacts").rglob("*")
        if file.is_file() and not file.name.startswith(".")
    }


def sql(file: Path, *statements: str) -> None:
    connection = sqlite3.connect(file)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def write(content: bytes) -> Spoil:
    return lambda file, _: file.write_bytes(content) and None  # type: ignore[return-value]


def cut(share: float) -> Spoil:
    def spoil(file: Path, _: Path) -> None:
        file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])

    return spoil


def foreign(version: int) -> Spoil:
    def spoil(file: Path, _: Path) -> None:
        file.unlink()
        sql(file, "CREATE TABLE songs (title TEXT)", f"PRAGMA user_version = {version}")

    return spoil


def garbled(begin: int, end: int) -> Spoil:
    def spoil(file: Path, _: Path) -> None:
        raw = bytearray(file.read_bytes())
        raw[begin:end] = bytes((byte * 7 + 13) % 256 for byte in raw[begin:end])
        file.write_bytes(raw)

    return spoil


def stale_journal(file: Path, _: Path) -> None:
    file.write_bytes(b"")
    file.with_name(file.name + "-journal").write_bytes(bytes.fromhex("d9d505f920a163d7") + bytes(600))


def made_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def made_empty(file: Path) -> None:
    file.unlink()
    sql(file, "VACUUM", "PRAGMA application_id = 7")


REFUSED: dict[str, Spoil] = {
    "empty": write(b""),
    "missing": lambda file, _: file.unlink(),
    "a folder": lambda file, _: made_folder(file),
    "zeros": lambda file, _: write(bytes(file.stat().st_size))(file, _),
    "text": write(b"not a database, " * 200),
    "one byte": write(b"S"),
    "an empty database": lambda file, _: made_empty(file),
    "another application's": foreign(0),
    "another application's, of our number": foreign(2),
    "another application's, of our old number": foreign(1),
    "cut to a half": cut(0.5),
    "cut to a page": lambda file, _: file.write_bytes(file.read_bytes()[:4096]) and None,  # type: ignore[return-value]
    "cut by a little": cut(0.97),
    "garbled header": garbled(0, 100),
    "garbled schema": garbled(110, 4096),
    "garbled rows": garbled(4096, 20000),
    "rows deleted by another program": lambda file, _: sql(file, "DELETE FROM adapters WHERE name = 'bob'"),
    "all rows deleted by another program": lambda file, _: sql(file, "DELETE FROM adapters"),
    "a row changed by another program": lambda file, _: sql(file, "UPDATE adapters SET note = 'x' WHERE name = 'bob'"),
    "a name changed": lambda file, _: sql(file, "UPDATE adapters SET name = 'bib' WHERE name = 'bob'"),
    "an explanation changed": lambda file, _: sql(
        file, """UPDATE adapters SET explanation = replace(explanation, '"pairs":50', '"pairs":51')"""
    ),
    "a table dropped": lambda file, _: sql(file, "DROP TABLE adapters"),
    "a side file left behind": stale_journal,
}
"""What is to be refused by everybody, readers and writers."""


@pytest.mark.parametrize("spoil", REFUSED.values(), ids=REFUSED)
def test_a_lost_or_damaged_catalog_is_refused_and_no_adapter_is_lost(
    spoil: Spoil, folder: Path, other_pool: Path, base: Path, adapters: list[Path]
) -> None:
    catalog, before = folder / CATALOG_FILE, contents(folder)
    spoil(catalog, other_pool)
    old = catalog.read_bytes() if catalog.is_file() else None
    is_file = catalog.is_file() or not catalog.exists()
    for read_only, create in ((True, False), (False, False), (False, True)):
        with (
            pytest.raises(XpertError, match=r"restore|is no file") as refused,
            open_pool(folder, create, read_only=read_only) as pool,
        ):
            pool.list()
            pool.reindex(lambda _: sample_explanation())
        assert refused.type in (PoolError, StorageError)
        assert contents(folder) == before
        assert (catalog.read_bytes() if catalog.is_file() else None) == old
    if not is_file:
        return
    found = restore(folder, Base(model_digest(base), "tiny"), dry=True)
    assert contents(folder) == before and (catalog.read_bytes() if catalog.is_file() else None) == old
    done = restore(folder, Base(model_digest(base), "tiny"))
    assert (done.kept, done.restored, done.left) == (found.kept, found.restored, found.left)
    assert len(done.kept) + len(done.restored) == 3 and done.left == () and contents(folder) == before
    assert (done.aside is None) == (old is None)
    if done.aside is not None:
        assert done.aside.read_bytes() == old
    with open_pool(folder, create=False) as pool:
        assert len(pool.reindex(lambda _: sample_explanation()).explained) == 3 and pool.orphans() == ()
        assert {record.adapter for record in pool.list()} == set(pool.artifacts.digests())
        for record in pool.list():
            pool.adapter_path(record.name)
    assert contents(folder) == before


def test_what_can_be_read_of_a_damaged_catalog_is_kept(folder: Path) -> None:
    with open_pool(folder) as pool:
        before = {record.name: record for record in pool.list()}
    sql(folder / CATALOG_FILE, "UPDATE adapters SET note = 'x' WHERE name = 'bob'")
    done = restore(folder)
    assert done.catalog == "damaged" and done.kept == ("anna", "carl") and len(done.restored) == 1
    with open_pool(folder) as pool:
        assert [pool.get(name) for name in ("anna", "carl")] == [before["anna"], before["carl"]]
        assert pool.list() != list(before.values())


def test_an_older_copy_of_the_catalog_costs_no_adapter(
    folder: Path, base: Path, adapters: list[Path], tmp_path: Path
) -> None:
    with open_pool(tmp_path / "young") as pool:
        add(pool, adapters[0], base, "anna")
    shutil.copy(tmp_path / "young" / CATALOG_FILE, folder)
    before = contents(folder)
    with open_pool(folder) as pool:
        orphans = pool.orphans()
        report = pool.reindex(lambda _: sample_explanation())
        assert len(orphans) == 2 and (report.swept, report.orphans) == ((), orphans)
    done = restore(folder)
    assert (done.catalog, done.kept, len(done.restored), done.aside) == ("whole", ("anna",), 2, None)
    assert contents(folder) == before


def test_the_catalog_of_another_pool_costs_no_adapter(folder: Path, other_pool: Path, base: Path) -> None:
    before = contents(folder)
    shutil.copy(other_pool, folder)
    with open_pool(folder) as pool:
        with pytest.raises(StorageError, match=r"3 that no row names: was the catalog exchanged\?.*--anew"):
            pool.reindex(lambda _: sample_explanation())
        with pytest.raises(PoolError, match="the catalog names zoe, whose files are not here"):
            discard(pool, None)
    assert restore(folder, dry=True).missing == ("zoe",)
    with pytest.raises(MismatchError, match="--anew"):
        restore(folder, Base(model_digest(base), "tiny"))
    with open_pool(folder) as pool:
        pool.remove("zoe")
    assert contents(folder) == before
    shutil.copy(other_pool, folder)
    done = restore(folder, Base(model_digest(base), "tiny"), anew=True)
    assert (done.catalog, len(done.restored)) == ("set aside", 3) and done.aside is not None
    assert done.aside.read_bytes() == other_pool.read_bytes() and contents(folder) == before


def test_an_add_that_fails_takes_nothing_away_that_was_there(
    folder: Path, base: Path, adapters: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_pool(tmp_path / "young") as pool:
        add(pool, adapters[0], base, "anna")
    shutil.copy(tmp_path / "young" / CATALOG_FILE, folder)
    before = contents(folder)

    def refuse(*_: object) -> None:
        raise StorageError("full")

    with open_pool(folder) as pool:
        with monkeypatch.context() as patch:
            patch.setattr("xpert.pool.sql.SqlCatalog.add", refuse)
            with pytest.raises(StorageError, match="full"):
                add(pool, adapters[1], base, "bob")
        assert contents(folder) == before
        with pytest.raises(DuplicateError):
            add(pool, adapters[1], base, "anna")
        assert contents(folder) == before
        add(pool, adapters[1], base, "bob")
        assert [record.name for record in pool.list()] == ["anna", "bob"]
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: (folder / ADAPTER_FILES[1]).write_bytes(b"rotten"), "they were damaged"),
        (
            lambda folder: (folder / "README.md").write_text(f"---\nxpert:\n  base_sha256: {'a' * 64}\n---\n"),
            "base aaaa",
        ),
    ],
    ids=["damaged", "of another base"],
)
def test_what_cannot_come_back_stays_and_is_told_of(folder: Path, spoil: Callable[[Path], object], why: str) -> None:
    with open_pool(folder) as pool:
        bob = pool.adapter_path("bob")
    spoil(bob)
    sql(folder / CATALOG_FILE, "DELETE FROM adapters WHERE name = 'bob'")
    done = restore(folder)
    assert done.kept == ("anna", "carl") and done.restored == ()
    ((digest, said),) = done.left
    assert digest == bob.name and why in said and bob.is_dir()


def test_without_a_word_of_the_base_nothing_is_guessed(folder: Path) -> None:
    """What an adapter calls its base is its own word; a pool takes that from nobody."""
    (folder / CATALOG_FILE).unlink()
    done = restore(folder)
    assert len(done.left) == 3 and all("give --base MODEL" in why for _, why in done.left)
    with open_pool(folder) as pool:
        assert pool.list() == [] and len(pool.orphans()) == 3


def test_names_come_from_cards_and_else_from_digests(folder: Path, base: Path) -> None:
    heads = ["# Anna's  diary / 2024\n", "# ../../etc\n", ""]
    with open_pool(folder) as pool:
        digests = pool.artifacts.digests()
        for digest, head in zip(digests, heads, strict=True):
            (pool.artifacts.path(digest) / "README.md").write_text(head)
    (folder / CATALOG_FILE).unlink()
    done = restore(folder, Base(model_digest(base), "tiny", base))
    assert [name for name, _ in done.restored] == ["Anna-s-diary-2024", "etc", f"adapter-{digests[2][:12]}"]


def test_old_catalogs_are_never_overwritten(folder: Path, base: Path) -> None:
    catalog, given = folder / CATALOG_FILE, Base(model_digest(base), "tiny")
    for number, content in enumerate((b"one", b"two", b"three"), 1):
        catalog.write_bytes(content)
        done = restore(folder, given)
        assert done.aside == catalog.with_name("catalog.sqlite.old" + (f"-{number}" if number > 1 else ""))
    assert [catalog.with_name(f"catalog.sqlite.old{end}").read_bytes() for end in ("", "-2", "-3")] == [
        b"one",
        b"two",
        b"three",
    ]


def test_only_what_is_named_is_discarded(folder: Path, base: Path, tmp_path: Path) -> None:
    extra = [tiny_adapter(base, tmp_path / f"extra-{seed}", seed=seed) for seed in (20, 21)]
    with open_pool(folder) as pool:
        first, second = (pool.artifacts.put(adapter, ADAPTER_FILES) for adapter in extra)
        for wrong in ("", "abc", "z" * 64, pool.get("anna").adapter):
            with pytest.raises(PoolError, match="not the digest of one adapter without a row"):
                discard(pool, [wrong])
        assert discard(pool, [first[:10]]) == (first,) and pool.orphans() == (second,)
        assert discard(pool, None) == (second,) and [record.name for record in pool.list()] == list(NAMES)


def test_a_catalog_of_the_first_layout_opens_and_is_brought_up_to_date(folder: Path) -> None:
    catalog = folder / CATALOG_FILE
    sql(catalog, "DROP TABLE checksums", "DROP TABLE space", "PRAGMA user_version = 1")
    old = catalog.read_bytes()
    with open_pool(folder, read_only=True) as pool:
        before = pool.list()
        assert [record.name for record in before] == list(NAMES)
        pool.adapter_path("anna")
    assert catalog.read_bytes() == old
    with open_pool(folder) as pool:
        assert pool.list() == before
    sql(catalog, "UPDATE adapters SET note = 'x' WHERE name = 'bob'")
    with pytest.raises(StorageError, match="row 'bob' cannot be read"), open_pool(folder, read_only=True) as pool:
        pool.list()


_KILLED = """
import os, signal, sys
from pathlib import Path
from xpert.pool import open_pool

def kill(*_): os.kill(os.getpid(), signal.SIGKILL)

with open_pool(sys.argv[1]) as pool:
    setattr(type(getattr(pool, sys.argv[2])), sys.argv[3], kill)
    pool.remove("bob")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("part", "method", "left"), [("catalog", "remove", NAMES), ("artifacts", "delete", ("anna", "carl"))]
)
def test_a_removal_that_was_killed_is_finished_or_never_was(
    part: str, method: str, left: tuple[str, ...], folder: Path
) -> None:
    command = [sys.executable, "-c", _KILLED, str(folder), part, method]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    with open_pool(folder) as pool:
        assert tuple(record.name for record in pool.list()) == left
        assert pool.orphans() == () and pool.artifacts.doomed() == []
        assert pool.reindex(lambda _: sample_explanation()).orphans == ()


_KILLED_WRITER = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE more (x)")
for _ in range(2000):
    connection.execute("INSERT INTO more VALUES (randomblob(2000))")
connection.execute("DELETE FROM adapters")
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_write_that_was_killed_is_taken_back(folder: Path, base: Path, tmp_path: Path) -> None:
    """What SQLite lays beside a catalog in the middle of a write belongs to it, with the catalog or without."""
    catalog = folder / CATALOG_FILE
    assert subprocess.run([sys.executable, "-c", _KILLED_WRITER, str(catalog)]).returncode == -signal.SIGKILL
    journal = catalog.with_name("catalog.sqlite-journal")
    assert journal.stat().st_size > 0
    lone = Path(shutil.copytree(folder, tmp_path / "lone"))
    with (
        pytest.raises(StorageError, match="a change was killed; `xpert pool restore"),
        open_pool(folder, read_only=True),
    ):
        pass
    assert restore(folder, dry=True).kept == NAMES and journal.stat().st_size > 0
    assert restore(folder).kept == NAMES and not journal.exists()
    (lone / CATALOG_FILE).unlink()
    done = restore(lone, Base(model_digest(base), "tiny"))
    assert len(done.restored) == 3 and done.aside is not None
    assert done.aside.with_name(done.aside.name + "-journal").is_file()
