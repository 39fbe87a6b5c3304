"""Models that every test of this room merges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xpert.testing.tiny_family import Family


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """Tiny language models of one base, to be read only."""
    from xpert.testing.tiny_family import tiny_family

    return tiny_family(tmp_path_factory.mktemp("family"))
