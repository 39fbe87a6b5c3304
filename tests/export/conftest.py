"""Bases of every family, each built once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xpert.testing.tiny_families import tiny_base_of


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Family -> the folder of its base; to be read only."""
    made: dict[str, Path] = {}

    def give(family: str) -> Path:
        if family not in made:
            made[family] = tiny_base_of(tmp_path_factory.mktemp("bases") / family, family)
        return made[family]

    return give
