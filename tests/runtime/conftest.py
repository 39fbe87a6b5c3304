"""One small export that the tests of this room read, and samples of unlike lengths."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpert.export import ExportSettings, export
from xpert.models.reference import ModelReference
from xpert.records import Sample
from xpert.testing.tiny import tiny_base
from xpert.tuning import TuningSettings

LENGTHS = (0, 3, 1, 6, 2, 5, 4)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("runtime") / "base")


@pytest.fixture(scope="session")
def exported(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runtime") / "export"
    export(ModelReference(str(base)), folder, ExportSettings(rank=4, max_length_tokens=256))
    return folder


@pytest.fixture(scope="session")
def train() -> list[Sample]:
    return [Sample(f"What is {i}?", "very " * LENGTHS[i % 7] + f"nice {i}") for i in range(30)]


@pytest.fixture(scope="session")
def validation() -> list[Sample]:
    return [Sample(f"And {i}?", "very " * LENGTHS[i % 5] + "nice") for i in range(6)]


@pytest.fixture
def settings() -> TuningSettings:
    return TuningSettings(
        max_steps=8, batch_size=4, accumulation_steps=2, learning_rate=1e-2, evaluate_every=4, save_every=3, rank=4
    )
