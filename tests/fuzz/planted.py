"""Readers that break one law each, on purpose: the watch over the others is tested with them."""

from __future__ import annotations

import ctypes
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz import samples
from fuzz.cases import CANARY, Case, check_texts
from fuzz.guard import BAIT_TEXT, Bait
from fuzz.mutations import PLANTED_MODULE

from xpert.errors import DataError


def prepare(_room: Path) -> None:
    """Nothing is shared."""


def make(_rng: random.Random, folder: Path, _shared: Any, bait: Bait) -> Case:
    """The reader whose name the index gives."""
    name = list(READERS)[int(folder.name.rsplit("-", 1)[1])]
    source = folder / "data"
    samples.write(source / "me.txt", f"{CANARY} hello\n")
    samples.write(source / "planted.py", "1 + 1\n")
    (source / "link.txt").symlink_to(bait.folder / "secret.txt")
    return Case(source, name, {"bait": bait})


def read(case: Case, _shared: Any) -> None:
    """Break the law."""
    READERS[case.how](case.source, case.facts["bait"])


def _swallowed(function: Callable[[], Any]) -> None:
    """What a careless reader does with an error that it cannot explain."""
    try:
        function()
    except Exception as error:
        raise DataError("cannot be read") from error


def _connects(bait: Bait) -> None:
    """As native code does: no event of Python tells of it."""
    libc = ctypes.CDLL(None)
    number = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    address = (
        struct.pack("=H", socket.AF_INET) + struct.pack(">H", bait.port) + socket.inet_aton("127.0.0.1") + bytes(8)
    )
    libc.connect(number, address, len(address))
    libc.close(number)
    time.sleep(0.2)


def _opens_natively(path: Path) -> None:
    libc = ctypes.CDLL(None)
    number = libc.open(os.fsencode(path), os.O_RDONLY)
    libc.read(number, ctypes.create_string_buffer(9), 9)
    libc.close(number)


def _waits_in_threads(bait: Bait) -> None:
    """A pipe that nobody writes, opened by native code in a thread that the main one waits for."""
    thread = threading.Thread(target=_opens_natively, args=(bait.folder / "pipe",))
    thread.start()
    while thread.is_alive():
        try:
            thread.join()
        except BaseException:
            continue


def _fails(error: Exception) -> None:
    raise error


class _RawError(DataError):
    """One that leaves out what errors do to their text."""

    def __str__(self) -> str:
        return str(self.args[0])


def _spins() -> None:
    while True:
        pass


READERS: dict[str, Callable[[Path, Bait], Any]] = {
    "nothing": lambda source, bait: (source / "me.txt").read_text(),
    "refuses": lambda source, bait: _fails(DataError("no: give another")),
    "opens a path": lambda source, bait: _swallowed(lambda: Path("/etc/hostname").read_text()),
    "opens a path in a thread": lambda source, bait: [
        (t := threading.Thread(target=lambda: Path("/etc/passwd").read_text())).start(),
        t.join(),
    ],
    "follows a link": lambda source, bait: _swallowed(lambda: (source / "link.txt").read_text()),
    "opens a file above": lambda source, bait: _swallowed(
        lambda: (source / ".." / ".." / ".." / "printed").read_text()
    ),
    "lists a folder": lambda source, bait: _swallowed(lambda: os.listdir("/home")),
    "writes a file": lambda source, bait: _swallowed(lambda: (source.parent / "new").write_text("x")),
    "writes into the source": lambda source, bait: _swallowed(lambda: (source / "new").write_text("x")),
    "renames the source": lambda source, bait: _swallowed(lambda: (source / "me.txt").rename(source / "you.txt")),
    "connects": lambda source, bait: _swallowed(lambda: socket.create_connection(("127.0.0.1", bait.port))),
    "asks for a name": lambda source, bait: _swallowed(lambda: socket.getaddrinfo("example.org", 80)),
    "starts a program": lambda source, bait: _swallowed(lambda: subprocess.run(["true"])),
    "starts a shell": lambda source, bait: _swallowed(lambda: os.system("true")),
    "starts Python": lambda source, bait: _swallowed(lambda: subprocess.run([sys.executable, "-c", "1"])),
    "loads a library": lambda source, bait: _swallowed(lambda: ctypes.CDLL(str(source / "planted.so"))),
    "imports a name": lambda source, bait: _swallowed(lambda: __import__(PLANTED_MODULE)),
    "runs a file": lambda source, bait: _swallowed(
        lambda: exec(compile((source / "planted.py").read_text(), str(source / "planted.py"), "exec"))
    ),
    "opens a bait natively": lambda source, bait: _opens_natively(bait.folder / "secret.txt"),
    "connects natively": lambda source, bait: _connects(bait),
    "fails": lambda source, bait: _fails(ValueError("x")),
    "exits": lambda source, bait: sys.exit(3),
    "quotes": lambda source, bait: _fails(DataError(f"row 1 holds {CANARY} hello")),
    "acts on the terminal": lambda source, bait: _fails(_RawError("row \x1b[31m")),
    "prints": lambda source, bait: print(CANARY, file=sys.stderr, flush=True),
    "leaves a copy": lambda source, bait: (Path(os.environ["TMPDIR"]) / "copy.arrow").write_text(f"{CANARY} hello"),
    "tells of another file": lambda source, bait: check_texts(BAIT_TEXT),
    "gives half a character": lambda source, bait: check_texts("\ud800"),
    "gives nothing": lambda source, bait: check_texts(" "),
    "spins": lambda source, bait: _spins(),
    "waits": lambda source, bait: _waits_in_threads(bait),
    "takes memory": lambda source, bait: bytearray(b"x") * (1200 * 2**20),
    "crashes": lambda source, bait: os.abort(),
}
