"""The setup of a pool: what cannot be read is told, and what a killed run left is known."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xpert.errors import PoolError
from xpert.pool import open_pool
from xpert.pool.creating import create_pool, is_unfinished
from xpert.pool.setup import SETUP_FILE, PoolSetup, read_setup, write_setup
from xpert.space.basis import Space

SETUP = PoolSetup(base="b", summarizer="s")
SPACE = Space((), np.zeros((0, 3)), np.zeros(3), np.zeros((2, 3)), 1.0, "s", "b", "p")


@pytest.mark.parametrize(("content", "why"), [(b"\xff\xfe", "not UTF-8"), (b"{", "1 faults")])
def test_a_setup_that_cannot_be_read_is_told(content: bytes, why: str, tmp_path: Path) -> None:
    write_setup(tmp_path, SETUP)
    (tmp_path / SETUP_FILE).write_bytes(content)
    with pytest.raises(PoolError, match=rf"setup\.json cannot be read \(.*{why}\): rebuild it"):
        read_setup(tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_creation_that_is_killed_anywhere_is_unfinished_or_done(scratch: Path, at_line: Callable[..., int]) -> None:
    def create(folder: Path) -> None:
        create_pool(folder, (SPACE, SETUP)).close()

    def killed(folder: Path, number: int) -> None:
        at_line(number, lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: create(folder))

    create(scratch / "imports")
    total, done = at_line(-1, int, lambda: create(scratch / "whole")), 0
    for number in range(1, total + 1, 8):
        folder = scratch / f"pool-{number}"
        child = multiprocessing.get_context("fork").Process(target=killed, args=(folder, number))
        child.start()
        child.join(30)
        assert child.exitcode == -signal.SIGKILL
        if not folder.exists() or is_unfinished(folder):
            create(folder)
        else:
            done += 1
        for read_only in (True, False):
            with open_pool(folder, create=False, read_only=read_only) as pool:
                assert pool.space.digest == SPACE.digest and pool.setup == SETUP and pool.list() == []
    assert 0 < done < total


def test_an_unfinished_pool_may_get_another_space_or_none(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    assert not is_unfinished(pool)
    create_pool(pool, (SPACE, SETUP)).close()
    assert not is_unfinished(pool)
    (pool / "catalog.sqlite").unlink()
    assert is_unfinished(pool)
    create_pool(pool).close()
    with open_pool(pool) as opened:
        assert not opened.has_space and opened.artifacts.digests() == []


@pytest.mark.parametrize("name", ["space/photo.png", "artifacts/photo.png", "artifacts/0/adapter_config.json", "a.txt"])
def test_somebody_elses_files_are_no_unfinished_pool(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    assert not is_unfinished(tmp_path)
