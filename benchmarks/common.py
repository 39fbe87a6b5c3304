"""What all benchmarks share: options, clocks, the machine's own speed, promises and the report.

Knows numbers and names only; nothing of what is measured.

A benchmark collects `results` (numbers by name) and `promises` (figures with a bound) and ends with `finish`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import torch
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from xpert.errors import XpertError
from xpert.writing import whole_file

Show = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Promise:
    """A figure that must not be missed: at least, or at most, so much.

    Args:
        name: as a reader knows it, with its unit.
        measured: what was measured; NaN misses every promise.
        at_least: lower bound, None where there is none.
        at_most: upper bound, None where there is none.
    """

    name: str
    measured: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def kept(self) -> bool:
        """True when the measured figure is within its bounds."""
        low = self.at_least is None or self.measured >= self.at_least
        high = self.at_most is None or self.measured <= self.at_most
        return low and high and not math.isnan(self.measured)

    def __str__(self) -> str:
        bounds = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        bounds += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        return f"{self.name}: {self.measured:.4g}, promised {' and '.join(bounds)}"


@dataclass
class Clock:
    """Wall time and processor time of a `with` block; waits for the device at both ends.

    Attributes:
        device: where the work runs.
        wall_s: seconds on the wall.
        cpu_s: seconds of all threads of this process.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def __enter__(self) -> Clock:
        self._synchronize()
        self.wall_s, self.cpu_s = -time.perf_counter(), -time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._synchronize()
        self.wall_s += time.perf_counter()
        self.cpu_s += time.process_time()

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def matrix_rate(device: torch.device, *, rounds: int = 5, seconds: float = 0.2) -> float:
    """Floating-point operations a second that the device reaches in square matrix products.

    2 n^3 operations a product; fp32 and n = 1024, on CUDA bf16 and n = 8192. Each of the rounds repeats the
    product for at least `seconds`; the best counts, since other programs only ever slow one down.
    """
    n, dtype, at_once = (8192, torch.bfloat16, 16) if device.type == "cuda" else (1024, torch.float32, 1)
    left, right = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    out, best = torch.empty_like(left), 0.0
    torch.mm(left, right, out=out)
    for _ in range(rounds):
        products, spent = 0, 0.0
        while spent < seconds:
            with Clock(device) as clock:
                for _ in range(at_once):
                    torch.mm(left, right, out=out)
            products, spent = products + at_once, spent + clock.wall_s
        best = max(best, 2.0 * n**3 * products / spent)
    return best


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """`--json OUT` and `--check`, alike in all benchmarks; `finish` reads them."""
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures and the machine's facts here")
    parser.add_argument("--check", action="store_true", help="exit 1 where a promised figure is missed")


@contextmanager
def write_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to be written atomically: a reader sees the old or the new one, and a block that fails changes nothing.

    Yields a stream that is written aside; at the end of the block it is synced and renamed to `path`, whose folder is
    made where missing.

    Raises:
        StorageError: the disk refused.
    """
    with whole_file(path) as fresh, fresh.open("wb") as stream:
        yield stream


@contextmanager
def progress() -> Iterator[Show]:
    """A bar a stage on standard error while the block runs; yields what library code calls `on_progress`."""
    with Progress(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def guarded(main: Callable[[], None]) -> None:
    """Run a benchmark's main; what a user can mend is one line on standard error and exit status 2."""
    try:
        main()
    except XpertError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def machine_facts(device: torch.device | None = None) -> dict[str, object]:
    """What a figure depends on besides the code."""
    chosen = device or torch.device("cpu")
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cpu_model() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text("utf-8").splitlines() if facts.is_file() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def finish(
    name: str,
    results: Mapping[str, Any],
    promises: Sequence[Promise],
    args: argparse.Namespace,
    *,
    device: torch.device | None = None,
) -> None:
    """Report: tables on the screen, the JSON file where one is wanted, and the verdict.

    Args:
        name: of the benchmark.
        results: numbers, texts and lists by name, nested as the benchmark likes.
        promises: figures with a bound.
        args: with the options of `add_output_arguments`.
        device: what ran the work; None: the CPU.

    Raises:
        SystemExit: status 1, with `--check`, when a promise is missed; standard error names each.
    """
    _print_tables(name, results, promises)
    if args.json is not None:
        verdicts = [{**asdict(promise), "kept": promise.kept} for promise in promises]
        whole = {"benchmark": name, **results, "promises": verdicts, "machine": machine_facts(device)}
        with write_whole(args.json) as stream:
            stream.write(f"{json.dumps(whole, indent=2)}\n".encode())
    missed = [promise for promise in promises if not promise.kept]
    if args.check and missed:
        for promise in missed:
            print(f"{name}: missed: {promise}", file=sys.stderr)
        raise SystemExit(1)


def _flatten(results: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in results.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _print_tables(name: str, results: Mapping[str, Any], promises: Sequence[Promise]) -> None:
    table, verdicts = Table("figure", "value", title=name), Table("promise", "kept")
    for figure, value in _flatten(results):
        table.add_row(figure, f"{value:.4g}" if isinstance(value, float) else str(value))
    for promise in promises:
        verdicts.add_row(str(promise), "yes" if promise.kept else "MISSED")
    Console().print(table, *([verdicts] if promises else []))
