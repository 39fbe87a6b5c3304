"""Runs whose losses are known, and what the page needs: Node.js, a Chromium, and the page itself, else a skip."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from xpert.data import read_samples, split_samples
from xpert.export import ExportSettings, export
from xpert.models.reference import ModelReference
from xpert.runtime import train_exported
from xpert.runtime.serving import PAGE, PageServer
from xpert.testing import tiny_families
from xpert.testing.tiny_families import FAMILIES, tiny_base_of
from xpert.tuning import TuningSettings, tune

WEB = Path(__file__).parents[2] / "web"
CLI = WEB / "dist" / "cli.mjs"
SETTINGS: dict[str, Any] = {
    "max_steps": 40,
    "batch_size": 2,
    "accumulation_steps": 2,
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "warmup_steps": 4,
    "weight_decay": 0.01,
    "evaluate_every": 10,
    "patience": None,
    "max_length_tokens": 64,
    "seed": 3,
}
SHARE = 0.2


@dataclass(frozen=True)
class Known:
    """An export, a person's file, settings with the share that is kept, and losses of PyTorch."""

    export: Path
    data: Path
    settings: dict[str, Any]
    torch: list[float]


@dataclass(frozen=True)
class Reference(Known):
    """The same with losses of ONNX Runtime."""

    onnx: list[float]
    onnx_adapter: Path


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take a family take one, Node.js another than the browser; with --all-families each of them."""
    if "family" in metafunc.fixturenames:
        usual = ["llama"] if "browser" in metafunc.fixturenames else ["qwen3"]
        metafunc.parametrize("family", list(FAMILIES) if metafunc.config.getoption("--all-families") else usual)


def losses(train: list[float], validation: list[Any]) -> list[float]:
    """Losses of a run, one after the other."""
    return [*train, *(loss for _, loss in validation)]


def write_data(file: Path) -> Path:
    """Twenty-four messages of unlike lengths, some of them awkward."""
    rows = [{"prompt": f"What is {i}?", "response": "very " * (i * 7 % 5) + f"nice {i}"} for i in range(24)]
    rows[3]["prompt"], rows[4]["prompt"], rows[5]["prompt"] = "  ünï 语 🙂 ", "long " * 30, ""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Reference]:
    """Family -> forty steps of a base of twelve blocks with a cosine schedule, taken once."""
    made: dict[str, Reference] = {}

    def give(family: str) -> Reference:
        if family not in made:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)  # so small a base waits for the second thread more than it gains
            room = tmp_path_factory.mktemp(family)
            base, data = tiny_base_of(room / "base", family), write_data(room / "data.jsonl")
            export(ModelReference(str(base)), room / "export", ExportSettings(rank=4, max_length_tokens=64))
            start, settings = str(room / "export" / "adapter"), TuningSettings(**SETTINGS)
            train, held = split_samples(read_samples(data), validation=SHARE, seed=settings.seed)
            plain = tune(ModelReference(str(base), start), train, held, room / "torch", settings, device="cpu")
            onnx = train_exported(room / "export", train, held, room / "onnx", settings, threads=1)
            made[family] = Reference(
                export=room / "export",
                data=data,
                settings={**SETTINGS, "validation": SHARE},
                torch=losses(plain.train_losses, plain.validation_losses),
                onnx=losses(onnx.train_losses, onnx.validation_losses),
                onnx_adapter=room / "onnx",
            )
            torch.set_num_threads(threads)
        return made[family]

    return give


@pytest.fixture(scope="session")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Known]:
    """Family -> steps of a base of two blocks, for a graphics processor in software, taken once.

    They are eight more than forty, so that something is left to do when that processor is lost; the golden batch
    accumulates.
    """
    made: dict[str, Known] = {}
    settings = {**SETTINGS, "batch_size": 4, "accumulation_steps": 1, "max_steps": 48, "evaluate_every": 24}

    def give(family: str) -> Known:
        if family not in made:
            room = tmp_path_factory.mktemp(family)
            with pytest.MonkeyPatch.context() as patched:
                patched.setitem(tiny_families._SIZES, "num_hidden_layers", 2)
                base, data = tiny_base_of(room / "base", family), write_data(room / "data.jsonl")
            export(ModelReference(str(base)), room / "export", ExportSettings(rank=4, max_length_tokens=64))
            train, held = split_samples(read_samples(data), validation=SHARE, seed=SETTINGS["seed"])
            start = ModelReference(str(base), str(room / "export" / "adapter"))
            done = tune(start, train, held, room / "torch", TuningSettings(**settings), device="cpu")
            known = losses(done.train_losses, done.validation_losses)
            made[family] = Known(room / "export", data, {**settings, "validation": SHARE}, known)
        return made[family]

    return give


@dataclass(frozen=True)
class Node:
    """The core of the page under Node.js."""

    program: str

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        """A command of the core."""
        return subprocess.run([self.program, str(CLI), *map(str, words)], capture_output=True, text=True, check=False)

    def told(self, *words: object) -> Any:
        """The document that a command prints."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def node() -> Node:
    """Node.js 20 or newer, with the core built for it."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node.js is not installed")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < 20:
        pytest.skip(f"Node.js {version} is too old, 20 is needed")
    if not CLI.is_file() or not (WEB / "node_modules").is_dir():
        pytest.skip("the page is not built: make page")
    return Node(found)


@pytest.fixture(scope="session")
def chromium(node: Node) -> str:
    """A Chromium beside Node.js, and the built page."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    if not (PAGE / "index.html").is_file():
        pytest.skip("the page is not built: make page")
    return found


@dataclass
class Browser:
    """Serves exports and uses the page; see web/drive.mjs for the acts."""

    node: Node
    chromium: str
    room: Path
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    url: str = ""

    def use(
        self,
        folder: Path,
        acts: list[list[Any]],
        *,
        first: Callable[[], object] = lambda: None,
        port: int = 0,
        page: Path = PAGE,
        query: str = "",
        bind: str = "127.0.0.1",
        names: tuple[str, ...] = (),
        **plan: Any,
    ) -> dict[str, Any]:
        """What the page showed, and every request, with the number of the act during which it was made.

        Args:
            folder: to serve.
            acts: of the person.
            first: is done between the start of the server and that of the browser.
            port: to serve at; the browser keeps data by address. 0: any that is free.
            page: that is served.
            query: of the address.
            bind: address to serve at.
            names: that the server goes by.
            plan: more of the plan.
        """
        told = self.asked.append
        with PageServer(
            folder, host=bind, port=port, page=page, names=names, on_request=lambda *request: told(request)
        ) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.url = server.url
            try:
                first()
                return self.drive(self.url + query, acts, **plan)
            finally:
                server.shutdown()

    def drive(self, url: str, acts: list[list[Any]], **plan: Any) -> dict[str, Any]:
        """The same with an address."""
        whole = {"url": url, "browser": self.chromium, "profile": str(self.room / "profile"), "acts": acts, **plan}
        file = self.room / "plan.json"
        file.write_text(json.dumps(whole), "utf-8")
        command = [self.node.program, str(WEB / "drive.mjs"), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told


@pytest.fixture
def browser(node: Node, chromium: str, tmp_path: Path) -> Browser:
    return Browser(node, chromium, tmp_path)
