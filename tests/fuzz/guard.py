"""What a process opens while it reads a stranger's files: nothing but those.

Three witnesses. Python's audit events see what Python opens, connects to, starts or imports, and stop what is not
allowed. inotify sees who reads the files laid out as bait, from native code too. A listener on this machine counts
connections, and every address in the inputs and the hub's own name lead to it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import socket
import struct
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.mutations import PLANTED_MODULE

BAIT_TEXT = "zqbaitqz"
"""Stands in every bait; nothing that is read may hold it."""

_SYSTEM = ("/proc/self/status", "/proc/self/statm", "/proc/self/maps", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat",
           "/proc/self/cgroup", "/proc/self/mountinfo", "/proc/mounts", "/proc/self/mounts", "/dev/null",
           "/dev/urandom", "/etc/localtime",
           "/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/os-release", "/usr/lib/os-release", "/etc/mime.types",
           "/etc/httpd/conf/mime.types", "/etc/apache2/mime.types")  # fmt: skip
_NETWORK = frozenset("socket.connect socket.getaddrinfo socket.gethostbyname socket.gethostbyaddr socket.bind "
                     "socket.sendto socket.sendmsg ftplib.connect http.client.connect urllib.Request smtplib.connect "
                     "imaplib.open poplib.connect nntplib.connect telnetlib.Telnet.open "
                     "webbrowser.open".split())  # fmt: skip
_PROGRAMS = frozenset("subprocess.Popen os.system os.exec os.posix_spawn os.spawn os.fork os.forkpty pty.spawn "
                      "os.startfile".split())  # fmt: skip
_OPENED = {"open": 0, "os.listdir": 0, "os.scandir": 0, "ctypes.dlopen": 0, "sqlite3.connect": 0, "os.truncate": 0}
_CHANGED = {"os.remove": 0, "os.rmdir": 0, "os.rename": 1, "os.mkdir": 0, "os.symlink": 1, "os.link": 1, "os.chmod": 0,
            "os.chown": 0, "shutil.rmtree": 0, "shutil.copyfile": 1, "shutil.move": 1}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_IN_ACCESS, _IN_OPEN, _IN_NONBLOCK, _IN_CLOEXEC = 0x1, 0x20, 0o4000, 0o2000000


@dataclass
class Guard:
    """Watches while `watching` is open.

    Attributes:
        own: folders and files that may be read and written: our temporary folder and our caches.
        readable: folders and files that may be read besides: Python's own, the package, the models of the suite.
        seen: what was opened and must not be, with the place in the code.
    """

    own: tuple[str, ...]
    readable: tuple[str, ...]
    seen: list[str] = field(default_factory=list)
    _source: tuple[str, ...] = ()
    _on: bool = False
    _inside: threading.local = field(default_factory=threading.local)

    def install(self) -> None:
        """Hear Python's audit events until the process ends: hooks cannot be taken away."""
        python = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
        roots = {
            sys.prefix,
            sys.base_prefix,
            *python,
            "/usr/lib",
            "/usr/local/lib",
            "/lib",
            "/lib64",
            "/usr/share/zoneinfo",
        }
        roots |= {"/sys/devices/system", "/sys/fs/cgroup"}
        self.readable = tuple({os.path.realpath(root) for root in (*roots, *self.readable, *_SYSTEM) if root})
        self.own = tuple(os.path.realpath(path) for path in self.own)
        sys.addaudithook(self._hear)

    @contextmanager
    def watching(self, source: Path) -> Iterator[None]:
        """Nothing but `source`, and what lies in it, may be opened in the block."""
        self.seen.clear()
        self._source = (os.path.realpath(source),)
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on or getattr(self._inside, "busy", False):
            return
        self._inside.busy = True
        try:
            fault = self._fault(event, arguments)
            if fault is not None:
                self.seen.append(f"{fault} ({_place()})")
        finally:
            self._inside.busy = False
        if fault is not None:
            raise PermissionError(13, "not allowed while a stranger's files are read")

    def _fault(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        if event in _NETWORK:
            return f"network: {event}"
        if event in _PROGRAMS:
            return None if event == "subprocess.Popen" and self._own_program(arguments) else f"program: {event}"
        if event == "import" and PLANTED_MODULE in str(arguments[0]):
            return "code: imports what a file names"
        if event in ("exec", "compile"):
            named = getattr(arguments[0], "co_filename", None) if event == "exec" else arguments[1]
            return (
                "code: runs what a file holds" if isinstance(named, str) and self._within(named, self._source) else None
            )
        if (
            event == "ctypes.dlopen"
            and arguments[0] is not None
            and self._within(os.fsdecode(arguments[0]), self._source)
        ):
            return "code: loads what a file holds"
        if event in _OPENED:
            target = arguments[_OPENED[event]]
            writes = event in ("os.truncate", "sqlite3.connect") or (
                event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & _WRITING)
            )
            return self._path_fault(event, target, writes)
        return self._path_fault(event, arguments[_CHANGED[event]], True) if event in _CHANGED else None

    def _own_program(self, arguments: tuple[Any, ...]) -> bool:
        """Python with a file of the package: what must be stopped from outside is done in a process of its own."""
        program, words = os.fsdecode(arguments[0]), [os.fsdecode(word) for word in arguments[1]]
        scripts = [word for word in words[1:] if word.endswith(".py")]
        package = os.path.dirname(importlib.util.find_spec("xpert").origin or "")  # type: ignore[union-attr]
        return (
            program == sys.executable and len(scripts) == 1 and self._within(scripts[0], (os.path.realpath(package),))
        )

    def _path_fault(self, event: str, target: Any, writes: bool) -> str | None:
        if target is None or isinstance(target, int):
            return None
        path = os.fsdecode(target)
        if (event == "ctypes.dlopen" and "/" not in path) or path == ":memory:":
            return None
        if event in _CHANGED:  # of a link, the link is meant
            path = os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path))
        allowed = self.own if writes else (*self.own, *self._source, *self.readable)
        if self._within(path, allowed) or (writes and os.path.realpath(path) == "/dev/null"):
            return None
        return f"{'writes' if writes else 'opens'} outside the source: {event}"

    @staticmethod
    def _within(path: str, roots: tuple[str, ...]) -> bool:
        real = os.path.realpath(path)
        return any(real == root or real.startswith(root + os.sep) for root in roots)


def _place() -> str:
    """The lines of code that lead there, without our own, innermost last."""
    frames = [f for f in traceback.extract_stack() if os.sep + "fuzz" + os.sep not in f.filename]
    ours = [f for f in frames if f"{os.sep}xpert{os.sep}" in f.filename]
    chosen = [*ours[-1:], *frames[-1:]]
    return " > ".join(f"{Path(f.filename).name}:{f.name}" for f in chosen)


class Bait:
    """Files that nobody may read, and a port that nobody may call.

    Attributes:
        folder: holds `secret.txt`, `data.jsonl`, `picture.png` and `pipe`, a FIFO that nobody ever writes.
        port: of 127.0.0.1.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "secret.txt").write_text(f"{BAIT_TEXT} a\n\n{BAIT_TEXT} b\n")
        (folder / "data.jsonl").write_text(f'{{"prompt": "{BAIT_TEXT}", "response": "{BAIT_TEXT}"}}\n')
        (folder / "picture.png").write_bytes(_TINY_PNG)
        os.mkfifo(folder / "pipe")
        self._calls = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._count, daemon=True).start()
        self._events = self._watch()

    def touched(self) -> list[str]:
        """What was read or called since the last time, as native code does it."""
        found = [f"native code reads a bait: {name}" for name in sorted(self._read_events())]
        if self._calls:
            found.append("native code connects to an address of the input")
            self._calls = 0
        return found

    def _count(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            self._calls += 1
            connection.close()

    def _watch(self) -> int | None:
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "inotify_init1"):
            return None  # only Linux has it; the audit events are everywhere
        number: int = libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        libc.inotify_add_watch(number, os.fsencode(self.folder), _IN_ACCESS | _IN_OPEN)
        return number

    def _read_events(self) -> set[str]:
        names: set[str] = set()
        while self._events is not None:
            try:
                raw = os.read(self._events, 65536)
            except BlockingIOError:
                break
            at = 0
            while at < len(raw):
                length = struct.unpack_from("iIII", raw, at)[3]
                names.add(raw[at + 16 : at + 16 + length].rstrip(b"\0").decode() or "the folder")
                at += 16 + length
        return names


_TINY_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f00050001ff"
    "7b8bd3c50000000049454e44ae426082"
)
