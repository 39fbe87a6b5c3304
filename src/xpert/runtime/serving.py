"""The page that trains in a browser, and an export beside it, over HTTP: own files out, nothing in.

Knows files and addresses; `visitors` knows who may ask, `connection` speaks HTTP. Only files that are known when the
server starts can be asked for, so no path can lead anywhere else; nothing is accepted but GET and HEAD without a body,
so nobody's data can arrive here.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer, ThreadingMixIn
from typing import Any, BinaryIO
from urllib.parse import unquote

from xpert.errors import DamagedModelError, MissingModelError, SettingsError
from xpert.runtime.connection import Answer, Connection, Header, Patience, refused
from xpert.runtime.manifest import MANIFEST, read_manifest
from xpert.runtime.visitors import KEY, Asked, Refusal, Visitors, is_loopback, parted

PAGE = Path(str(files("xpert"))) / "runtime" / "page"
"""Where `make page` builds the page to."""

MOST_CONNECTIONS = 128
"""At a time; a browser opens six."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
_HEADERS: tuple[Header, ...] = (
    # Isolation, so that the page may compute on several threads.
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    # The browser itself refuses to send anything anywhere else.
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self'; "
        "img-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
    ),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_FOR_EVER = "private, max-age=31536000, immutable"
_TRICKY = re.compile(r"%(2f|5c|00)", re.IGNORECASE)
"""Slashes, backslashes and zeros that hide: no file of ours has them in its name."""

OnRequest = Callable[[str, str, int], None]
"""Told of method, path without its query, and status of every answered request."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files of a certificate and its key, as PEM."""

    certificate: Path
    key: Path


class PageServer(ThreadingMixIn, TCPServer):
    """Serves the page at / and the export at /export/.

    Where other machines reach it, a key that is drawn at the start stands in the address, and nothing is answered
    without it; a cookie keeps it in the browser.

    Args:
        export: what `xpert export` wrote.
        host: address to listen on.
        port: 0: any that is free.
        page: the built page.
        certificate: for HTTPS; None: HTTP.
        names: under which it is reached, beside its addresses and the name of this machine; with another port where
            one leads here.
        patience: how long a visitor may take.
        on_request: told of every request.

    Raises:
        MissingModelError, DamagedModelError, MismatchError: the export cannot be used.
        SettingsError: the page is not built, the port is taken, or the certificate cannot be read.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(
        self,
        export: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        page: Path = PAGE,
        certificate: Certificate | None = None,
        names: Sequence[str] = (),
        patience: Patience | None = None,
        on_request: OnRequest | None = None,
    ) -> None:
        self.files = served_files(export, page)
        self.on_request = on_request
        self.patience = patience or Patience()
        self._places = threading.Semaphore(MOST_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), BaseRequestHandler)  # `finish_request` does what it would do
        except (OSError, OverflowError, ValueError) as error:
            raise SettingsError(
                f"address {host}, port {port} cannot be used ({error}): give another --port or --host"
            ) from error
        self._scheme = "http" if certificate is None else "https"
        if certificate is not None:
            self.socket = _encrypted(self.socket, certificate)
        bound, self.port = str(self.server_address[0]), int(self.server_address[1])
        self.is_open = not is_loopback(bound)
        self.key = secrets.token_urlsafe(16) if self.is_open else None
        self._names, machine = names, socket.gethostname()
        known = (*names, *((machine, f"{machine}.local") if self.is_open else ()))
        own = (self._shown(address) for address in (host, bound) if address not in _ANY)
        self._visitors = Visitors(self._scheme, self.port, (*own, *known), self.key)

    @property
    def url(self) -> str:
        """Address of the page, as a browser on this machine opens it, with the key."""
        bound = str(self.server_address[0])
        return self._address(self._shown({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound, bound)))

    @property
    def url_elsewhere(self) -> str | None:
        """The same for other machines; None: they do not reach it."""
        if not self.is_open:
            return None
        if self._names:
            name = self._names[0]
            return self._address(name if parted(name)[1] is not None else self._shown(name))
        bound = str(self.server_address[0])
        return self._address(self._shown(_outward(self.address_family) if bound in _ANY else bound))

    def _shown(self, host: str) -> str:
        """A name or address with the port, as it stands in an address."""
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def _address(self, host: str) -> str:
        return f"{self._scheme}://{host}/" + ("" if self.key is None else f"?{KEY}={self.key}")

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for each visitor, as long as there are not too many."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one visitor."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answer what comes in at one connection; a visitor who goes away, in the middle of a file too, is no fault."""
        try:
            request.settimeout(self.patience.ask_s)
            if isinstance(request, ssl.SSLSocket):
                request.do_handshake()
            arrived_at = str(request.getsockname()[0])
            Connection(request, self.patience, _HEADERS).talk(lambda asked: self._answer(asked, arrived_at))
        except OSError:
            return

    def _answer(self, asked: Asked, arrived_at: str) -> Answer:
        answer = self._chosen(asked, arrived_at)
        if self.on_request is not None:
            self.on_request(asked.method, asked.path, answer.status.value)
        return answer

    def _chosen(self, asked: Asked, arrived_at: str) -> Answer:
        refusal = self._visitors.refusal(asked, arrived_at)
        if refusal is not None:
            return refused(refusal)
        if asked.method not in ("GET", "HEAD"):
            return refused(Refusal(HTTPStatus(405), "only GET and HEAD are answered"), ("Allow", "GET, HEAD"))
        if asked.has_body:
            return refused(Refusal(HTTPStatus(413), "a request may hold no body: nothing can be given to this server"))
        if not asked.path.startswith("/"):
            return refused(Refusal(HTTPStatus(400), "a path that starts with / is needed"))
        file = None if _TRICKY.search(asked.path) else self.files.get(unquote(asked.path))
        stream = None if file is None else _opened(file)
        if file is None or stream is None:
            return refused(Refusal(HTTPStatus.NOT_FOUND, "no such file"), ends=False)
        cookie = self._visitors.cookie(asked)
        headers = (
            ("Content-Type", _TYPES.get(file.suffix, "application/octet-stream")),
            ("Cache-Control", _FOR_EVER if asked.query.startswith("sha256=") else "no-cache"),
            *(() if cookie is None else (("Set-Cookie", cookie),)),
        )
        return Answer(HTTPStatus.OK, headers, stream, os.fstat(stream.fileno()).st_size)


_ANY = ("", "0.0.0.0", "::")
"""Addresses to listen on that stand for every one that the machine has."""


def served_files(export: Path, page: Path = PAGE) -> dict[str, Path]:
    """Path in the address -> file, with no link left in it, of everything that is served.

    Raises:
        SettingsError: the page is not built.
        MissingModelError, DamagedModelError, MismatchError: the export cannot be used.
    """
    if not (page / "index.html").is_file():
        raise SettingsError(
            f"the page is not built ({page} holds no index.html): run `make page` in the repository, which needs "
            "Node.js 20 or newer and npm, or install a wheel of xpert, which holds it"
        )
    manifest = read_manifest(export)
    found = {f"/{file.relative_to(page).as_posix()}": file.resolve() for file in page.rglob("*") if file.is_file()}
    found["/"] = found["/index.html"]
    inside = export.resolve()
    for name in (MANIFEST, *manifest.files):
        file = (export / name).resolve()
        if not file.is_file():
            raise MissingModelError(f"{export} lacks {name}: export the folder again")
        if inside not in file.parents:
            raise DamagedModelError(f"{name} of {export} leads out of the folder: export it again")
        found[f"/export/{name}"] = file
    return found


def _opened(file: Path) -> BinaryIO | None:
    """A plain file, where it lies as it did at the start; None: it is gone, or something else took its place."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        if file.resolve() != file:
            return None
        stream = os.fdopen(os.open(file, flags), "rb")
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        return stream
    stream.close()
    return None


def _outward(family: int) -> str:
    """The address of this machine in its network; where it has none, its name."""
    probe = ("2001:db8::1", 9) if family == socket.AF_INET6 else ("192.0.2.1", 9)
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(probe)  # asks the system for a way, and sends nothing
        except OSError:
            return socket.gethostname()
        return str(asking.getsockname()[0])


def _encrypted(plain: socket.socket, of: Certificate) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(of.certificate, of.key)
    except (OSError, ssl.SSLError) as error:
        plain.close()
        raise SettingsError(
            f"certificate {of.certificate} with key {of.key} cannot be used ({error}): give a certificate and its "
            "key, both as PEM"
        ) from error
    # The handshake is done by the thread of each connection, so that a slow one holds up nobody.
    return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
