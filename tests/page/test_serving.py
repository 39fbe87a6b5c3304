"""The server gives out the page and the export, and nothing else; nothing can be given to it."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest

from xpert.errors import MissingModelError, SettingsError
from xpert.export import ExportSettings, export
from xpert.models.reference import ModelReference
from xpert.runtime.serving import Certificate, PageServer
from xpert.testing.tiny import tiny_base


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("serving")
    export(ModelReference(str(tiny_base(room / "base"))), room / "export", ExportSettings(rank=2, max_length_tokens=64))
    (room / "export" / "private.txt").write_text("not in the manifest")
    return room / "export"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    folder.mkdir()
    for name in ("index.html", "main.js", "core.wasm", "app.webmanifest"):
        (folder / name).write_text(name)
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def server(exported: Path, page: Path) -> Iterator[PageServer]:
    with PageServer(exported, port=0, page=page) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def ask(server: PageServer, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def test_files_types_and_isolation(server: PageServer, exported: Path) -> None:
    for path, kind in (
        ("/", "text/html; charset=utf-8"),
        ("/main.js", "text/javascript; charset=utf-8"),
        ("/core.wasm", "application/wasm"),
        ("/app.webmanifest", "application/manifest+json"),
        ("/export/manifest.json", "application/json; charset=utf-8"),
        ("/export/train.onnx?sha256=abc", "application/octet-stream"),
    ):
        status, headers, body = ask(server, path)
        assert (status, headers["content-type"], int(headers["content-length"])) == (200, kind, len(body)), path
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-embedder-policy"] == "require-corp"
        assert "connect-src 'self'" in headers["content-security-policy"]
    assert ask(server, "/export/base.safetensors")[2] == (exported / "base.safetensors").read_bytes()
    assert ask(server, "/export/base.safetensors", "HEAD")[::2] == (200, b"")
    assert "immutable" in ask(server, "/export/train.onnx?sha256=abc")[1]["cache-control"]
    assert ask(server, "/main.js")[1]["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/export/../../secret.txt", "/export/private.txt",
        "/export/", "/export/adapter", "//secret.txt", "/main.js/", "/main.js%00", "/etc/passwd", "/\\..\\secret.txt",
    ],
)  # fmt: skip
def test_nothing_else_is_given_out(path: str, server: PageServer) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_is_taken_in(method: str, server: PageServer) -> None:
    assert ask(server, "/", method)[0] == 405


def test_what_is_missing_is_named(exported: Path, page: Path, tmp_path: Path, server: PageServer) -> None:
    with pytest.raises(SettingsError, match=r"the page is not built .* run `make page`"):
        PageServer(exported, page=tmp_path / "none")
    with pytest.raises(MissingModelError, match="give a folder that `xpert export` wrote"):
        PageServer(page, page=page)
    with pytest.raises(SettingsError, match=r"port \d+ cannot be used .* give another --port or --host"):
        PageServer(exported, page=page, port=server.server_address[1])
    with pytest.raises(SettingsError, match=r"certificate .* cannot be used .* both as PEM"):
        PageServer(exported, page=page, port=0, certificate=Certificate(page / "a.pem", page / "b.pem"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_https_and_a_slow_visitor(exported: Path, page: Path, tmp_path: Path) -> None:
    pair = Certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", str(pair.key), "-out", str(pair.certificate)], check=True, capture_output=True)
    with PageServer(exported, port=0, page=page, certificate=pair) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert server.url.startswith("https://127.0.0.1:")
        with socket.create_connection(("127.0.0.1", server.server_address[1])):  # says nothing
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            connection = HTTPSConnection("127.0.0.1", server.server_address[1], timeout=10, context=trusting)
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"index.html"
            connection.close()
        server.shutdown()


def test_the_command_needs_both_files_of_a_certificate(exported: Path) -> None:
    command = [sys.executable, "-m", "xpert.cli.app", "phone", "serve", str(exported), "--key", "key.pem"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--certificate and --key belong together" in done.stderr
