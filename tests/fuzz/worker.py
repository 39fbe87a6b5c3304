"""One process that reads cases, one a line of its input, and tells of each on its output. Run by `conftest.Worker`.

A case has a time, CPU time and memory; what is over is a fault. Where the case cannot be stopped from within, Python's
watchdog writes down where it hangs and ends the process; the one outside starts another.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

CPU_S = 6.0
"""A case that computes longer, or waits so many times as long, hangs: most take some milliseconds."""

_WAIT = 5  # on a busy machine a case waits for its turn

GROWTH_BYTES = 2**30
"""Memory that a case may take at its height: the largest picture that is read needs most of it."""

_ADDRESS_SPACE = 3 * 2**30


class Overtime(BaseException):
    """The case took too long. No Exception: nobody but us may catch it."""


class Worker:
    """Reads cases of all kinds, in a room of its own."""

    def __init__(self, room: Path, cpu_s: float) -> None:
        from fuzz.guard import Bait, Guard

        self.room, self.cpu_s = room, cpu_s
        self.own = (str(room / "tmp"), str(room / "home"))
        self.bait = Bait(room / "bait")
        os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{self.bait.port}"  # asked by nobody: all inputs lie here
        shared = (str(Path(importlib.import_module("xpert").__file__ or "").parent), str(room / "shared"))
        self.guard = Guard(self.own, shared)
        self.guard.install()
        self.kinds: dict[str, tuple[Any, Any]] = {}
        self.printed = (room / "printed").open("r", errors="replace")
        self.left: set[Path] = set()

    def prepare(self, kind: str) -> dict[str, Any]:
        """Build what the cases of a kind share, and read some of them so that libraries are loaded."""
        module = importlib.import_module(f"fuzz.{kind}")
        (folder := self.room / "shared" / kind).mkdir(parents=True)
        self.kinds[kind] = module, module.prepare(folder)
        self.left = _files(self.own)
        resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + _ADDRESS_SPACE, resource.RLIM_INFINITY))
        return {"ready": kind}

    def run(self, kind: str, seed: int, index: int) -> dict[str, Any]:
        """Make a case, read it, and say what came of it."""
        from fuzz.cases import BrokenLawError, check_left, snapshot

        module, shared = self.kinds[kind]
        folder = self.room / "cases" / f"{kind}-{seed}-{index}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        random.seed(0)
        try:
            case = module.make(random.Random(f"{seed}:{kind}:{index}"), folder, shared, self.bait)
        except Exception:
            law, trace = "the generator of the suite fails", traceback.format_exc()[-2000:]
            return {
                "kind": kind,
                "index": index,
                "how": "",
                "outcome": "fault",
                "law": law,
                "signature": law,
                "detail": trace,
            }
        before, memory = snapshot(case.source), _peak()
        self.printed.read()
        told = {"kind": kind, "index": index, "how": case.how, "outcome": "accepted", "folder": str(folder)}
        started, used = time.monotonic(), time.process_time()
        try:
            told["outcome"] = self._read(module, case, shared)
            self._after(before, case, snapshot(case.source))
            self.left = check_left(self.own, self.left)
        except BrokenLawError as fault:
            told |= {"outcome": "fault", "law": fault.law, "detail": fault.detail[:1000], "signature": fault.law}
            if fault.__cause__ is not None:
                told["signature"] += f" | {_where(fault.__cause__)}"
                told["trace"] = "".join(traceback.format_exception(fault.__cause__))[-4000:]
            elif " > " not in fault.law:  # it names no place yet
                told["signature"] += f" | {case.how.split(':')[0]}"
            self.left = _files(self.own)
        told |= {"wall": time.monotonic() - started, "cpu": time.process_time() - used}
        told |= {"growth": _status("VmHWM") - memory, "rss": _status("VmRSS"), "files": _open_files()}
        if told["outcome"] != "fault":
            if told["cpu"] > self.cpu_s or told["wall"] > _WAIT * self.cpu_s:
                told |= {"outcome": "fault", "law": "takes too long", "signature": f"takes too long | {case.how}"}
            elif told["growth"] > GROWTH_BYTES:
                told |= {
                    "outcome": "fault",
                    "law": "takes too much memory",
                    "signature": f"too much memory | {case.how}",
                }
            if told["outcome"] == "fault":
                told["detail"] = (
                    f"{told['wall']:.1f} s, {told['cpu']:.1f} CPU-seconds, {told['growth'] / 2**20:.0f} MiB"
                )
        if told["outcome"] != "fault":
            shutil.rmtree(folder, ignore_errors=True)
        return told

    def _read(self, module: Any, case: Any, shared: Any) -> str:
        """Read a case under guard, within its time; whatever but a refusal is a fault."""
        from fuzz.cases import BrokenLawError, check_error

        from xpert.errors import XpertError

        faulthandler.dump_traceback_later(_WAIT * self.cpu_s + 3, exit=True)
        signal.setitimer(signal.ITIMER_REAL, _WAIT * self.cpu_s)
        signal.setitimer(signal.ITIMER_PROF, self.cpu_s)
        try:
            with self.guard.watching(case.source):
                module.read(case, shared)
        except XpertError as error:
            check_error(error)
            return "refused"
        except BrokenLawError:
            raise
        except Overtime as error:
            raise BrokenLawError("takes too long", "".join(traceback.format_exception(error))[-1500:]) from error
        except (Exception, SystemExit) as error:
            raise BrokenLawError(f"ends in {type(error).__name__}", str(error)[:500]) from error
        finally:
            for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF):
                signal.setitimer(timer, 0)
            faulthandler.cancel_dump_traceback_later()
        return "accepted"

    def _after(self, before: Any, case: Any, after: Any) -> None:
        from fuzz.cases import BrokenLawError, check_printed

        if faults := [*self.guard.seen, *self.bait.touched()]:
            raise BrokenLawError(faults[0], f"{len(faults)} times")
        if before != after:
            changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
            raise BrokenLawError("changes the source", ", ".join(changed)[:300])
        check_printed(self.printed.read())


def _where(error: BaseException) -> str:
    """The place of an error: the innermost line of the package, and the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f"{os.sep}xpert{os.sep}" in f.filename]
    return " > ".join(f"{Path(f.filename).name}:{f.name}" for f in (*ours[-1:], *frames[-1:]))


def _files(own: tuple[str, ...]) -> set[Path]:
    return {path for folder in own for path in Path(folder).rglob("*") if not path.is_dir()}


def _status(key: str) -> int:
    """A figure of this process in bytes; 0 where the system tells none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def _peak() -> int:
    """Memory in use now, from which the height counts anew."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _overtime(_number: int, _frame: Any) -> None:
    raise Overtime


def main(room: Path, cpu_s: float = CPU_S) -> None:
    """Answer every line with one, until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    log = os.open(room / "printed", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.enable()
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _overtime)
    worker = Worker(room, cpu_s)
    for line in sys.stdin:
        asked = json.loads(line)
        told = worker.prepare(asked["prepare"]) if "prepare" in asked else worker.run(**asked)
        answers.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(float, sys.argv[2:]))
