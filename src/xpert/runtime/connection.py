"""One connection of the page's server: requests in, answers out, with bounds on everything that a visitor sends.

Knows sockets and HTTP, which h11 reads; nothing of files or of who may ask.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from io import BytesIO
from typing import BinaryIO

import h11

from xpert.runtime.visitors import Asked, Refusal

HEAD_BYTES = 2**14
"""Longest head of a request."""

_PIECE_BYTES = 2**16
_REST_BYTES, _REST_S = 2**20, 2.0
"""How much is read, and for how long, of what a visitor still sends when the connection ends."""

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a visitor may take, in seconds: to ask, with the pause before it, and to take a piece of an answer."""

    ask_s: float = 20.0
    take_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent: a body is closed afterwards; of it so many bytes go out, no more and no fewer."""

    status: HTTPStatus
    headers: tuple[Header, ...]
    body: BinaryIO
    size_bytes: int
    ends: bool = False
    """Whether the connection ends with it."""


def refused(refusal: Refusal, *more: Header, ends: bool = True) -> Answer:
    """The answer that says why there is none."""
    body = f"{refusal.text}\n".encode()
    headers = (("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"), *more)
    return Answer(refusal.status, headers, BytesIO(body), len(body), ends)


_NO_HOST = "exactly one header Host is needed"
_SLOW = Refusal(HTTPStatus.REQUEST_TIMEOUT, "the request took too long")


class Connection:
    """Talks with one visitor until either side ends it.

    Args:
        client: the open socket; who made it closes it.
        patience: how long is waited.
        always: headers of every answer.
    """

    def __init__(self, client: socket.socket, patience: Patience, always: tuple[Header, ...]) -> None:
        self._client, self._patience, self._always = client, patience, always
        self._wire = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._deadline = 0.0

    def talk(self, answer: Callable[[Asked], Answer]) -> None:
        """Answer every request of the connection.

        Raises:
            OSError: the visitor went away, or took too long.
        """
        while self._one(answer):
            self._wire.start_next_cycle()
        self._end()

    def _one(self, answer: Callable[[Asked], Answer]) -> bool:
        """One request and its answer; whether another may follow."""
        self._deadline = time.monotonic() + self._patience.ask_s
        try:
            event = self._next()
            if not isinstance(event, h11.Request):
                return False
            headers = _by_name(event)
            has_body = _has_body(headers)
            while not has_body and not isinstance(self._next(), h11.EndOfMessage):
                pass
        except TimeoutError:
            if self._wire.trailing_data[0]:  # who has said nothing is told nothing
                self._send(refused(_SLOW))
            return False
        except h11.RemoteProtocolError as error:
            said = _NO_HOST if "Host:" in str(error) else "this is no request that the server reads"
            self._send(refused(Refusal(HTTPStatus(error.error_status_hint), f"{said}: use a current browser")))
            return False
        path, _, query = event.target.decode("ascii").partition("?")
        method = event.method.decode("ascii")
        self._send(answer(Asked(method, path, query, headers, has_body)), head=method == "HEAD")
        return self._wire.our_state is h11.DONE and self._wire.their_state is h11.DONE

    def _next(self) -> object:
        while (event := self._wire.next_event()) is h11.NEED_DATA:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._client.settimeout(left)
            data = self._client.recv(HEAD_BYTES)
            if not self._wire.trailing_data[0]:  # the pause is over, and a request begins
                self._deadline = time.monotonic() + self._patience.ask_s
            self._wire.receive_data(data)
        return event

    def _send(self, answer: Answer, *, head: bool = False) -> None:
        headers = [
            ("Date", formatdate(usegmt=True)), ("Content-Length", str(answer.size_bytes)), *answer.headers,
            *self._always, *([("Connection", "close")] if answer.ends else []),
        ]  # fmt: skip
        with answer.body as body:
            self._put(h11.Response(status_code=answer.status, headers=headers, reason=answer.status.phrase))
            left = 0 if head else answer.size_bytes
            while left > 0:
                piece = body.read(min(left, _PIECE_BYTES))
                if not piece:
                    raise OSError("the file became shorter while it was sent")
                self._put(h11.Data(piece))
                left -= len(piece)
            self._put(h11.EndOfMessage())

    def _put(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> None:
        self._client.settimeout(self._patience.take_s)
        if data := self._wire.send(event):
            self._client.sendall(data)

    def _end(self) -> None:
        """Say that nothing follows, and read what is still under way: else the visitor may lose the last answer."""
        self._client.shutdown(socket.SHUT_WR)
        deadline, left = time.monotonic() + _REST_S, _REST_BYTES
        while left > 0 and (wait := deadline - time.monotonic()) > 0:
            self._client.settimeout(wait)
            rest = self._client.recv(_PIECE_BYTES)
            if not rest:
                return
            left -= len(rest)


def _by_name(request: h11.Request) -> dict[str, str]:
    """Headers by their names, which h11 gives in small letters; the values of a repeated one are joined."""
    found: dict[str, str] = {}
    for name, value in request.headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}{'; ' if key == 'cookie' else ', '}{text}" if key in found else text
    return found


def _has_body(headers: dict[str, str]) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""
