"""For all tests: Ctrl-C works as in a terminal, also where a shell started them; tiny image models."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xpert.testing.tiny_pictures import Studio

signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much is tried.

    One family each is enough for every day: Python's runtime is held to PyTorch for all of them anyway.
    """
    parser.addoption("--all-families", action="store_true", help="Node.js and the browser train every family")
    fuzz = parser.getgroup("fuzz", "inputs of strangers, see tests/fuzz/test_fuzz.py")
    fuzz.addoption("--fuzz-cases", type=int, default=2000, metavar="N", help="how many, over all kinds")
    fuzz.addoption("--fuzz-seed", type=int, default=0, metavar="S", help="other cases")
    fuzz.addoption("--fuzz-only", metavar="KIND:INDEX", help="one case, as a failure names it; its input is kept")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What XPerT remembers of bases and pictures lies in the tests' own room, not in a person's."""
    with pytest.MonkeyPatch.context() as patch:
        if "XPERT_CACHE" not in os.environ:
            patch.setenv("XPERT_CACHE", str(tmp_path_factory.mktemp("xpert-cache")))
        yield


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """Tiny image models, to be read only."""
    from xpert.testing.tiny_pictures import tiny_studio

    return tiny_studio(tmp_path_factory.mktemp("studio"))
