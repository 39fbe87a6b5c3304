"""Whose requests the page's server answers: those that are meant for it, come from its own page, and know its key.

Knows headers and addresses; nothing of sockets or files.

A web page of a stranger runs in a browser that can reach this server. It must not read the export: not under a name of
its own that leads here (DNS rebinding: `Host` tells), nor from its own address (`Origin` and `Sec-Fetch-Site` tell).
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs

from xpert.errors import SettingsError
from xpert.printing import printable

KEY = "key"
"""The key's name in the query of an address."""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(?::([0-9]{1,5}))?")
_HERE = ("localhost", "127.0.0.1", "::1")
_COOKIE_S = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: method, path and query as they were sent, headers by their names in small letters."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    has_body: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: a status, and a text that repeats nothing of the request."""

    status: HTTPStatus
    text: str


class Visitors:
    """Tells whether a request may be answered.

    Args:
        scheme: http or https.
        port: that the server listens at.
        names: names and addresses of the server beside those of the machine itself; one without a port has the
            server's.
        key: without which nothing is answered; None: everybody who reaches the server may ask.

    Raises:
        SettingsError: one of the names cannot be one.
    """

    def __init__(self, scheme: str, port: int, names: Collection[str], key: str | None) -> None:
        self._scheme, self._port, self._key = scheme, port, key
        self._known = {(plain_address(name), port) for name in _HERE}
        for name in names:
            host, other = parted(name)
            self._known.add((host, other or port))

    def refusal(self, asked: Asked, arrived_at: str) -> Refusal | None:
        """Why a request is refused; None: it may be answered.

        Args:
            asked: the request.
            arrived_at: the address of this machine at which the connection came in.
        """
        host = asked.headers.get("host", "")
        if not host:
            return Refusal(HTTPStatus.BAD_REQUEST, "exactly one header Host is needed: use a current browser")
        if not self._is_ours(host, arrived_at):
            return Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this server does not go by that name: open the address that `xpert phone serve` printed, or start it "
                "with --name and the name that you use",
            )
        if not self._from_own_page(asked.headers, host):
            return Refusal(
                HTTPStatus.FORBIDDEN,
                "another web page asked: only this server's own page may load its files",
            )
        if self._key is not None and not (self._in_query(asked) or self._in_cookie(asked)):
            return Refusal(
                HTTPStatus.FORBIDDEN,
                "the key is missing or wrong: open the whole address that `xpert phone serve` printed, with ?key=... "
                "at its end",
            )
        return None

    def cookie(self, asked: Asked) -> str | None:
        """The cookie that lets a visitor in from now on, for one who came with the key; None: it needs none."""
        if self._key is None or not self._in_query(asked):
            return None
        secure = "; Secure" if self._scheme == "https" else ""
        return f"{self._cookie}={self._key}; Path=/; Max-Age={_COOKIE_S}; HttpOnly; SameSite=Strict{secure}"

    @property
    def _cookie(self) -> str:
        """Browsers share cookies between the ports of a machine, so the name tells them apart."""
        return f"xpert-{self._port}"

    def _is_ours(self, host: str, arrived_at: str) -> bool:
        try:
            name, port = parted(host)
        except SettingsError:
            return False
        asked = (name, port or {"http": 80, "https": 443}[self._scheme])
        return asked in self._known or asked == (plain_address(arrived_at), self._port)

    def _from_own_page(self, headers: Mapping[str, str], host: str) -> bool:
        """Whether no page of somebody else asks. A link that a person follows is no such page."""
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"{self._scheme}://{host.lower()}":
            return False
        if headers.get("sec-fetch-site", "none").lower() in ("none", "same-origin"):
            return True
        return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"

    def _in_query(self, asked: Asked) -> bool:
        try:
            given = parse_qs(asked.query, max_num_fields=100).get(KEY, [])
        except ValueError:
            return False
        return any(self._is_key(text) for text in given)

    def _in_cookie(self, asked: Asked) -> bool:
        pairs = (pair.strip().partition("=") for pair in asked.headers.get("cookie", "").split(";"))
        return any(name == self._cookie and self._is_key(text) for name, _, text in pairs)

    def _is_key(self, text: str) -> bool:
        return self._key is not None and hmac.compare_digest(text.encode("utf-8", "replace"), self._key.encode())


def parted(host: str) -> tuple[str, int | None]:
    """A name or address, as in `Host`, and its port, if one is given.

    Raises:
        SettingsError: it is neither a name nor an address.
    """
    found = _HOST.fullmatch(host.lower())
    if found is None:
        raise SettingsError(
            f"{printable(host, 80)!r} is no name of a server: give a name or an address, with or without a port, "
            "as it stands in the browser (box.local, box.local:8080, [fe80::1]:8000)"
        )
    return plain_address(found[1].strip("[]")), int(found[2]) if found[2] else None


def plain_address(name: str) -> str:
    """A name in small letters, an address in its one usual spelling."""
    text = name.strip("[]").partition("%")[0].lower()
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def is_loopback(address: str) -> bool:
    """Whether only this machine itself reaches an address."""
    return ipaddress.ip_address(plain_address(address)).is_loopback
