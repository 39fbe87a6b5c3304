"""The page that trains in a browser, and an export beside it, over HTTP: own files out, nothing in.

Knows files and the standard library's server. Only files that are known when the server starts can be asked for, so no
path can lead anywhere else; nothing is accepted but GET and HEAD, so nobody's data can arrive here.
"""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from xpert.errors import MissingModelError, SettingsError
from xpert.runtime.manifest import MANIFEST, read_manifest

PAGE = Path(str(files("xpert"))) / "runtime" / "page"
"""Where `make page` builds the page to."""

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
_HEADERS = {
    # Isolation, so that the page may compute on several threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    # The browser itself refuses to send anything anywhere else.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self'; "
        "img-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_FOR_EVER = "max-age=31536000, immutable"

OnRequest = Callable[[str, str, int], None]
"""Told of method, path and status of every request."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files of a certificate and its key, as PEM."""

    certificate: Path
    key: Path


class PageServer(ThreadingHTTPServer):
    """Serves the page at / and the export at /export/.

    Args:
        export: what `xpert export` wrote.
        host: address to listen on.
        port: 0: any that is free.
        page: the built page.
        certificate: for HTTPS; None: HTTP.
        on_request: told of every request.

    Raises:
        MissingModelError, DamagedModelError, MismatchError: the export cannot be used.
        SettingsError: the page is not built, the port is taken, or the certificate cannot be read.
    """

    daemon_threads = True

    def __init__(
        self,
        export: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        page: Path = PAGE,
        certificate: Certificate | None = None,
        on_request: OnRequest | None = None,
    ) -> None:
        self.files = served_files(export, page)
        self.on_request = on_request
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise SettingsError(
                f"address {host}, port {port} cannot be used ({error}): give another --port or --host"
            ) from error
        self._secure = certificate is not None
        if certificate is not None:
            self.socket = _encrypted(self.socket, certificate)

    @property
    def url(self) -> str:
        """Address of the page, as a browser on this machine opens it."""
        host, port = str(self.server_address[0]), self.server_address[1]
        shown = "127.0.0.1" if host == "0.0.0.0" else "[::1]" if host == "::" else f"[{host}]" if ":" in host else host
        return f"{'https' if self._secure else 'http'}://{shown}:{port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of a file is no fault."""


def served_files(export: Path, page: Path = PAGE) -> dict[str, Path]:
    """Path in the address -> file, of everything that is served.

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
    found = {f"/{file.relative_to(page).as_posix()}": file for file in sorted(page.rglob("*")) if file.is_file()}
    found["/"] = found["/index.html"]
    for name in (MANIFEST, *manifest.files):
        found[f"/export/{name}"] = export / name
    missing = [name for name, file in found.items() if not file.is_file()]
    if missing:
        raise MissingModelError(f"{export} lacks {missing[0].removeprefix('/export/')}: export the folder again")
    return found


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


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of known files; the base class answers every other method with 501."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version = "xpert"
    sys_version = ""
    timeout = 60

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        parts = urlsplit(self.path)
        file = self.server.files.get(unquote(parts.path))
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND, "no such file")
            return
        try:
            stream = file.open("rb")
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND, "no such file")
            return
        with stream:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", _TYPES.get(file.suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(file.stat().st_size))
            self.send_header("Cache-Control", _FOR_EVER if parts.query.startswith("sha256=") else "no-cache")
            self.end_headers()
            if body:
                shutil.copyfileobj(stream, self.wfile, 1 << 20)

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        if self.server.on_request is not None:
            status = code.value if isinstance(code, HTTPStatus) else int(code)
            self.server.on_request(self.command or "", self.path, status)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed: `on_request` is told."""
