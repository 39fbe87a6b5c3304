"""The page's server and visitors who mean harm: other names, other pages, no key, two requests in one, no end.

Everything is said over plain sockets, byte by byte, as no well-behaved client would.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from xpert.errors import SettingsError
from xpert.export import ExportSettings, export
from xpert.models.reference import ModelReference
from xpert.runtime import serving
from xpert.runtime.connection import HEAD_BYTES, Patience
from xpert.runtime.serving import PageServer
from xpert.testing.tiny import tiny_base


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("visitors")
    export(ModelReference(str(tiny_base(room / "base"))), room / "export", ExportSettings(rank=2, max_length_tokens=64))
    return room / "export"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text("the page")
    return folder


@contextmanager
def serve(exported: Path, page: Path, **more: Any) -> Iterator[PageServer]:
    with PageServer(exported, port=0, page=page, **more) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def server(exported: Path, page: Path) -> Iterator[PageServer]:
    with serve(exported, page, patience=Patience(ask_s=1.0)) as made:
        yield made


@pytest.fixture(scope="module")
def public(exported: Path, page: Path) -> Iterator[PageServer]:
    """One that every machine of the network reaches."""
    with serve(exported, page, host="0.0.0.0", names=("phone.test", "door.test:9000")) as made:
        yield made


def say(server: PageServer, text: str | bytes, *, at: str = "127.0.0.1") -> bytes:
    """All that the server answers until it ends the connection; PORT and KEY in the text are the server's."""
    raw = text.encode() if isinstance(text, str) else text
    raw = raw.replace(b"PORT", str(server.port).encode()).replace(b"KEY", (server.key or "-").encode())
    with socket.create_connection((at, server.port), timeout=10) as client:
        client.sendall(raw)
        found = b""
        while piece := client.recv(2**16):
            found += piece
    return found


def get(server: PageServer, *headers: str, path: str = "/", host: str = "127.0.0.1:PORT") -> int:
    lines = "".join(f"{header}\r\n" for header in (f"Host: {host}", *headers, "Connection: close"))
    return status(say(server, f"GET {path} HTTP/1.1\r\n{lines}\r\n"))


def status(answer: bytes) -> int:
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("host", ["127.0.0.1:PORT", "localhost:PORT", "LocalHost:PORT", "[::1]:PORT", "[0:0::1]:PORT"])
def test_its_own_names_are_answered(host: str, server: PageServer) -> None:
    assert get(server, host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:PORT", "evil.example", "127.0.0.1", "127.0.0.1:1", "localhost:80", "127.0.0.1.evil.example:PORT",
        "localhost.evil.example:PORT", "evil.example@127.0.0.1:PORT", "127.0.0.1:PORT@evil.example", "10.0.0.7:PORT",
        "0.0.0.0:PORT", "[::]:PORT", "[::2]:PORT", "127.0.0.1:PORT:PORT", "127.0.0.1,evil.example:PORT", "null", "*",
        "2130706433:PORT", "127.0.0.1:0PORT0",
    ],
)  # fmt: skip
def test_a_name_that_is_not_its_own_is_refused(host: str, server: PageServer) -> None:
    """A stranger's name that leads to this machine would make the stranger's page the own one of the export."""
    assert get(server, host=host) in (400, 421)
    answer = say(server, f"GET /export/manifest.json HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert b"tokenizer_sha256" not in answer and b"evil" not in answer
    if status(answer) == 421:
        assert b"open the address that `xpert phone serve` printed" in answer


def test_the_machine_is_known_by_its_name_and_by_the_address_that_was_used(public: PageServer) -> None:
    key = f"/?key={public.key}"
    for name in ("phone.test:PORT", "door.test:9000", f"{socket.gethostname()}.local:PORT", "127.0.0.1:PORT"):
        assert get(public, path=key, host=name) == 200
    for name in ("phone.test:9000", "door.test:PORT", "127.0.0.2:PORT", "0.0.0.0:PORT", "192.0.2.99:PORT"):
        assert get(public, path=key, host=name) == 421
    arrived = say(public, "GET /?key=KEY HTTP/1.1\r\nHost: 127.0.0.2:PORT\r\nConnection: close\r\n\r\n", at="127.0.0.2")
    assert status(arrived) == 200


@pytest.mark.parametrize("head", ["GET / HTTP/1.1\r\n", "GET / HTTP/1.0\r\n", "GET / HTTP/1.1\r\nHost:\r\n",
                                  "GET / HTTP/1.1\r\nHost: localhost:PORT\r\nHost: evil.example\r\n"])  # fmt: skip
def test_without_exactly_one_host_nothing_is_answered(head: str, server: PageServer) -> None:
    answer = say(server, f"{head}\r\n")
    assert status(answer) == 400 and b"exactly one header Host is needed" in answer


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        (["Sec-Fetch-Site: same-origin"], 200),
        (["Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"], 200),
        (["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"], 200),  # a link
        (["Origin: http://127.0.0.1:PORT"], 200),
        (["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"], 403),
        (["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"], 403),
        (["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors"], 403),  # another port of this machine
        (["Origin: http://evil.example"], 403),
        (["Origin: null"], 403),
        (["Origin: https://127.0.0.1:PORT"], 403),
        (["Origin: http://127.0.0.1"], 403),
        (["Origin: http://127.0.0.1:PORT", "Origin: http://evil.example"], 403),
    ],
)
def test_other_pages_get_nothing(headers: list[str], wanted: int, server: PageServer) -> None:
    assert get(server, *headers) == wanted


SECOND = "GET /export/manifest.json HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ("Content-Length: LENGTH\r\n", SECOND),
        ("Transfer-Encoding: chunked\r\n", f"{len(SECOND):x}\r\n{SECOND}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", f"0\r\n\r\n{SECOND}"),
        ("Content-Length: LENGTH\r\nTransfer-Encoding: chunked\r\n", SECOND),
        ("Content-Length: 99999999999999999\r\nExpect: 100-continue\r\n", SECOND),
    ],
)
def test_a_body_is_never_read_as_a_second_request(method: str, headers: str, body: str, server: PageServer) -> None:
    length = str(len(body.replace("PORT", str(server.port))))
    head = f"{method} / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n{headers.replace('LENGTH', length)}\r\n"
    answer = say(server, head + body)
    assert status(answer) == (413 if method in ("GET", "HEAD") else 405)
    assert b"tokenizer_sha256" not in answer and b"onnection: close" in answer


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 3\r\nContent-Length: 4", "Content-Length: -1", "Content-Length: +3", "Content-Length: 0x3",
        "Content-Length: three", "Content-Length: 3, 4", "Content-Length: 3 3", "Content-Length: ",
        "Transfer-Encoding: gzip", "Transfer-Encoding: chunked, identity", "Transfer-Encoding : chunked", "No colon",
        "Bad\x00name: 1", "Name: a\x00b", "Na me: x", ": x",
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_not_read(headers: str, server: PageServer) -> None:
    answer = say(server, f"GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n{headers}\r\n\r\nabc{SECOND}")
    assert status(answer) in (400, 413, 501) and b"tokenizer_sha256" not in answer


@pytest.mark.parametrize(
    "request_",
    [
        "GET http://evil.example/ HTTP/1.1", "GET * HTTP/1.1", "GET index.html HTTP/1.1", "GET / HTTP/9", "GET /",
        "GET  / HTTP/1.1", "GET /\x00 HTTP/1.1", "GET /ü HTTP/1.1", "\x16\x03\x01\x02",
    ],
)  # fmt: skip
def test_lines_that_ask_for_no_path_are_refused(request_: str, server: PageServer) -> None:
    answer = say(server, f"{request_}\r\nHost: 127.0.0.1:PORT\r\n\r\n")
    assert status(answer) == 400 and b"evil" not in answer


def test_several_requests_on_one_connection_get_one_answer_each(server: PageServer) -> None:
    one = "GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Length: 0\r\n\r\n"
    answer = say(server, one + one.replace("GET", "HEAD") + one.replace(" / ", " /none ") + SECOND)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"200", b"404", b"200"]
    assert answer.count(b"the page") == 1 and b"tokenizer_sha256" in answer


@pytest.mark.parametrize("endless", [b"GET /%s HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nX: %s\r\n", b"%s"])
def test_a_head_without_end_is_cut_off(endless: bytes, server: PageServer) -> None:
    assert status(say(server, endless % (b"a" * 20 * HEAD_BYTES))) in (400, 431)
    many = b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(20_000))
    assert status(say(server, many)) == 431


@pytest.mark.parametrize("said", [b"", b"G", b"GET / HTTP/1.1\r\nHost: 127.0"])
def test_a_visitor_who_does_not_end_a_request_is_let_go(said: bytes, server: PageServer) -> None:
    began = time.monotonic()
    answer = say(server, said)
    assert time.monotonic() - began < 5
    assert answer == b"" if said == b"" else status(answer) == 408


def test_a_visitor_who_sends_a_byte_now_and_then_is_let_go_too(server: PageServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        began, answer = time.monotonic(), b""
        client.settimeout(0.2)
        while time.monotonic() - began < 8 and not answer:
            try:
                client.sendall(b"G")
                answer = client.recv(2**16)
            except TimeoutError:
                continue
    assert status(answer) == 408 and time.monotonic() - began < 5


def test_a_visitor_who_takes_nothing_holds_no_file_for_ever(exported: Path, tmp_path: Path) -> None:
    large = tmp_path / "index.html"
    large.write_bytes(bytes(2**25))
    with serve(exported, tmp_path, patience=Patience(ask_s=5, take_s=0.5)) as made:
        with socket.create_connection(("127.0.0.1", made.port), timeout=10) as client:
            client.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{made.port}\r\n\r\n".encode())
            time.sleep(1.5)
            taken = 0
            with suppress(ConnectionResetError):
                while piece := client.recv(2**16):
                    taken += len(piece)
        assert taken < 2**25
        assert get(made, path="/export/manifest.json") == 200


def test_more_visitors_than_it_has_places_for_are_turned_away(
    exported: Path, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MOST_CONNECTIONS", 3)
    with serve(exported, page) as made:
        waiting = [socket.create_connection(("127.0.0.1", made.port), timeout=10) for _ in range(3)]
        with socket.create_connection(("127.0.0.1", made.port), timeout=10) as turned:
            assert turned.recv(10) == b""
        for client in waiting:
            client.close()
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                assert get(made) == 200
                return
            except (AssertionError, OSError):
                time.sleep(0.1)
    pytest.fail("places are not given back")


@pytest.mark.parametrize(
    "path",
    [
        "/export%2Fmanifest.json", "/export%5Cmanifest.json", "/export/manifest.json%00", "/export/%2e%2e/index.html",
        "/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/..%c0%af..%c0%afetc/passwd", "/%252e%252e/index.html", "/./index.html",
        "//index.html", "/index.html/", "/index.html;a", "/INDEX.HTML", "/export\\manifest.json", "/%ff%fe", "/%",
    ],
)  # fmt: skip
def test_only_the_very_paths_lead_to_files(path: str, server: PageServer) -> None:
    assert get(server, path=path) == 404


def swap_for_link(file: Path, secret: Path) -> None:
    file.unlink()
    file.symlink_to(secret)


def swap_for_pipe(file: Path, secret: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def swap_folder(file: Path, secret: Path) -> None:
    shutil.rmtree(file.parent)
    file.parent.symlink_to(secret.parent)


@pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes")
@pytest.mark.parametrize("swap", [swap_for_link, swap_for_pipe, swap_folder])
def test_what_takes_the_place_of_a_file_is_not_given_out(
    swap: Callable[[Path, Path], None], exported: Path, page: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(exported, tmp_path / "export")
    file = folder / "adapter" / "adapter_config.json"
    secret = tmp_path / "private" / file.name
    secret.parent.mkdir()
    secret.write_text("secret")
    with serve(folder, page) as made:
        assert get(made, path=f"/export/adapter/{file.name}") == 200
        swap(file, secret)
        assert get(made, path=f"/export/adapter/{file.name}") == 404
        assert get(made, path="/export/manifest.json") == 200


def test_answers_say_what_a_browser_must_not_do_and_not_what_the_server_is(server: PageServer) -> None:
    for path in ("/", "/none"):
        answer = say(server, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nConnection: close\r\n\r\n").lower()
        head = answer.partition(b"\r\n\r\n")[0]
        for header in (
            b"x-content-type-options: nosniff", b"referrer-policy: no-referrer", b"x-frame-options: deny",
            b"cross-origin-resource-policy: same-origin", b"content-security-policy: default-src 'none'",
        ):  # fmt: skip
            assert header in head
        assert b"\r\nserver:" not in head and b"python" not in answer and b"set-cookie" not in head


def test_beyond_this_machine_nothing_is_answered_without_the_key(public: PageServer) -> None:
    assert public.key is not None and len(public.key) >= 22
    for path in ("/", "/export/manifest.json", "/none", "/?key=", "/?key=wrong", "/?Key=KEY", "/?key=KEYx", "/?x=KEY"):
        assert get(public, path=path) == 403
    for cookie in ("xpert-PORT=wrong", "xpert-PORT=", "xpert-1=KEY", "KEY", "key=KEY"):
        assert get(public, f"Cookie: {cookie}") == 403
    for path in ("/?key=KEY", "/?compute=wasm&key=KEY", "/export/manifest.json?key=KEY"):
        assert get(public, path=path) == 200
    for cookie in ("xpert-PORT=KEY", "a=b; xpert-PORT=KEY; c", "xpert-PORT=wrong; xpert-PORT=KEY"):
        assert get(public, f"Cookie: {cookie}") == 200
    said = say(public, "GET /?key=wrong HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n")
    assert b"open the whole address that `xpert phone serve` printed" in said and b"wrong\r" not in said


def test_the_first_visit_leaves_a_cookie_that_no_script_and_no_other_page_uses(public: PageServer) -> None:
    first = say(public, "GET /?key=KEY HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nConnection: close\r\n\r\n").decode()
    (cookie,) = re.findall(r"Set-Cookie: (.*)\r\n", first)
    assert cookie.startswith(f"xpert-{public.port}={public.key}; Path=/; ")
    assert "; HttpOnly" in cookie and "; SameSite=Strict" in cookie
    for ask in ("GET /?key=wrong", "GET /"):
        answer = say(public, f"{ask} HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nConnection: close\r\n\r\n")
        assert b"Set-Cookie" not in answer


def test_the_key_is_told_to_nobody(exported: Path, page: Path) -> None:
    told: list[tuple[str, str, int]] = []
    with serve(exported, page, host="0.0.0.0", on_request=lambda *request: told.append(request)) as made:
        assert get(made, path="/?key=KEY") == 200 and get(made, path="/?key=wrong") == 403
        assert told == [("GET", "/", 200), ("GET", "/", 403)]
        assert made.key in made.url and made.url.startswith("http://127.0.0.1:")
        assert made.url_elsewhere is not None and made.url_elsewhere.endswith(f":{made.port}/?key={made.key}")
        with serve(exported, page, host="0.0.0.0") as other:
            assert other.key != made.key


@pytest.mark.parametrize(("host", "is_open"), [("127.0.0.1", False), ("localhost", False), ("127.0.0.9", False),
                                               ("0.0.0.0", True), ("", True)])  # fmt: skip
def test_a_key_is_drawn_where_other_machines_reach_it(host: str, is_open: bool, exported: Path, page: Path) -> None:
    with PageServer(exported, host=host, port=0, page=page) as made:
        assert (made.key is not None) == is_open == (made.url_elsewhere is not None)


@pytest.mark.parametrize("name", ["two words", "a/b", "", "[::1", "a:b", "x\x1b[31m"])
def test_a_name_that_is_none_is_refused(name: str, exported: Path, page: Path) -> None:
    with pytest.raises(SettingsError, match="is no name of a server: give a name or an address") as refused:
        PageServer(exported, port=0, page=page, names=(name,))
    assert "\x1b" not in str(refused.value)


PAGE_AT = "import sys; from xpert.runtime import serving; from pathlib import Path; page = Path(sys.argv.pop(1)); "
START = PAGE_AT + "serving.PageServer.__init__.__kwdefaults__['page'] = page; from xpert.cli.app import main; main()"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_command_shows_the_whole_address_and_warns(host: str, exported: Path, page: Path, tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-u",
        "-c",
        START,
        str(page),
        "phone",
        "serve",
        str(exported),
        "--host",
        host,
        "--port",
        "0",
    ]
    files = [tmp_path / "stdout", tmp_path / "stderr"]
    with files[0].open("w") as shown, files[1].open("w") as warned:
        running = subprocess.Popen(words, stdout=shown, stderr=warned)
    try:
        deadline, found = time.monotonic() + 60, None
        while found is None and time.monotonic() < deadline and running.poll() is None:
            time.sleep(0.1)
            found = re.search(r"open http://127\.0\.0\.1:(\d+)/(\S*) ", files[0].read_text())
        assert found is not None, files[1].read_text()
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=10) as client:
            client.sendall(f"GET /{found[2]} HTTP/1.1\r\nHost: 127.0.0.1:{found[1]}\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=30) == 0
    finally:
        running.kill()
    warning = files[1].read_text()
    if host == "127.0.0.1":
        assert found[2] == "" and "warning" not in warning and "other devices" not in files[0].read_text()
        return
    other = re.search(r"other devices: http://\S+/\?key=(\S+)", files[0].read_text())
    assert other is not None and found[2] == f"?key={other[1]}" and len(other[1]) >= 22
    assert warning.startswith("warning: every device of the network reaches this server")
    assert "over plain HTTP whoever listens in the network can read both" in warning and other[1] not in warning
