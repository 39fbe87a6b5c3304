"""Both runtimes obey one law."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpert.runtime import OnnxRuntime, TorchRuntime
from xpert.testing.runtimes import RuntimeContract


class TestOnnx(RuntimeContract):
    @pytest.fixture(autouse=True)
    def _folder(self, exported: Path) -> None:
        self.folder = exported

    def open(self) -> OnnxRuntime:
        return OnnxRuntime(self.folder, threads=1)


class TestTorch(RuntimeContract):
    @pytest.fixture(autouse=True)
    def _folder(self, exported: Path) -> None:
        self.folder = exported

    def open(self) -> TorchRuntime:
        return TorchRuntime(self.folder)
