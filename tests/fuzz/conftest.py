"""The processes that read the cases, and what pytest is told of them."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
_CASE_S, _PREPARE_S = 60.0, 300.0  # the worker stops a case sooner by itself
_MEMORY = 3 * 2**30


class Worker:
    """A process that reads cases; where it dies or hangs, the case is to blame and another process takes its place."""

    def __init__(self, room: Path, cpu_s: float | None = None) -> None:
        self._room, self.started, self._cpu_s = room, 0, [] if cpu_s is None else [str(cpu_s)]
        self._process: subprocess.Popen[str] | None = None
        self._prepared: dict[str, dict[str, Any]] = {}

    def prepare(self, kind: str) -> dict[str, Any]:
        """See that cases of a kind can be read."""
        if self._process is None:
            self._start()
        if kind not in self._prepared:
            told = self._ask({"prepare": kind}, _PREPARE_S)
            assert "ready" in told, f"cases of {kind} cannot be made: {told}"
            self._prepared[kind] = told
        return self._prepared[kind]

    def run(self, kind: str, seed: int, index: int) -> dict[str, Any]:
        """What came of a case: its `outcome` is accepted, refused or fault."""
        self.prepare(kind)
        return {"kind": kind, "index": index} | self._ask({"kind": kind, "seed": seed, "index": index}, _CASE_S)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        self.started += 1
        self._prepared = {}
        self.room = self._room / f"worker-{self.started}"
        for name in ("tmp/here", "home", "cases"):
            (self.room / name).mkdir(parents=True)
        (self.room / "printed").touch()
        home = str(self.room / "home")
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("HF_", "XDG_", "XPERT_", "TRANSFORMERS_"))
        }
        environment |= {"HOME": home, "TMPDIR": str(self.room / "tmp"), "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), *filter(None, [environment.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.worker", str(self.room), *self._cpu_s],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=self.room / "tmp" / "here",
        )

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        end = time.monotonic() + seconds
        while not select.select([process.stdout], [], [], 0.05)[0]:
            if time.monotonic() > end:
                return self._lost("takes too long", "it could not be stopped from within")
            if _resident(process.pid) > _MEMORY:
                return self._lost("takes too much memory", f"more than {_MEMORY} bytes")
        line = process.stdout.readline()
        if line:
            told: dict[str, Any] = json.loads(line)
            return told
        code = process.wait()
        printed = (self.room / "printed").read_text(errors="replace")
        law = "takes too long" if "Timeout (" in printed[-20000:] else "ends the process"
        return self._lost(law, f"exit status {code}: {printed[-3000:]}")

    def _lost(self, law: str, detail: str) -> dict[str, Any]:
        """Of a case with which its process ended."""
        lines = [line for line in detail.splitlines() if "/xpert/" in line]
        self.close()
        signature = f"{law} | {lines[0].strip() if lines else detail[:60]}"
        return {
            "outcome": "fault",
            "law": law,
            "signature": signature,
            "detail": detail,
            "how": "",
            "folder": str(self.room),
        }


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One for all kinds: what it imports takes longer than many cases."""
    made = Worker(tmp_path_factory.mktemp("fuzz"))
    yield made
    made.close()
