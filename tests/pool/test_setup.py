"""The setup of a pool: what cannot be read is told, and what a killed run left is known."""

from pathlib import Path

import pytest

from xpert.errors import PoolError
from xpert.pool import open_pool
from xpert.pool.setup import SETUP_FILE, SPACE_FILE, PoolSetup, is_unfinished, read_setup, write_setup


@pytest.mark.parametrize(("content", "why"), [(b"\xff\xfe", "not UTF-8"), (b"{", "1 faults")])
def test_a_setup_that_cannot_be_read_is_told(content: bytes, why: str, tmp_path: Path) -> None:
    write_setup(tmp_path, PoolSetup(base="b", summarizer="s"))
    (tmp_path / SETUP_FILE).write_bytes(content)
    with pytest.raises(PoolError, match=rf"setup\.json cannot be read \(.*{why}\): rebuild it"):
        read_setup(tmp_path)


def test_a_pool_is_unfinished_until_it_has_a_catalog(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    assert not is_unfinished(pool)
    write_setup(pool, PoolSetup(base="b", summarizer="s"))
    (pool / SPACE_FILE).write_bytes(b"")
    (pool / "space" / ".setup.json.xpert-0123abcd.part").write_bytes(b"half")
    assert is_unfinished(pool)
    open_pool(pool).close()
    assert not is_unfinished(pool)


def test_somebody_elses_files_are_no_unfinished_pool(tmp_path: Path) -> None:
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / "photo.png").write_bytes(b"x")
    assert not is_unfinished(tmp_path)
