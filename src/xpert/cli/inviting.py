"""How a person gets to the page that is served: its address, a picture of it for a phone, and what it exposes."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xpert.cli.terminal import Terminal
    from xpert.runtime.serving import PageServer

_OPEN = (
    "every device of the network reaches this server; the key in the address lets it in, to the adapter of the export "
    "too: show the address only to those who may have that"
)
_PLAIN = (
    "; over plain HTTP whoever listens in the network can read both: use --certificate and --key in a network that you "
    "do not trust"
)


def invite(terminal: Terminal, server: PageServer, *, encrypted: bool) -> None:
    """Show the addresses of the page, with the key where there is one, and warn where other machines reach it.

    Args:
        terminal: to show them on.
        server: that is about to serve.
        encrypted: whether it speaks HTTPS.
    """
    elsewhere = server.url_elsewhere
    warning = None if elsewhere is None else _OPEN if encrypted else _OPEN + _PLAIN
    terminal.emit({"url": server.url, "url_elsewhere": elsewhere, "warning": warning})
    terminal.show(f"open {server.url} in a browser; Ctrl-C ends")
    if elsewhere is not None:
        terminal.show(f"other devices: {elsewhere}")
        if sys.stdout.isatty():
            terminal.show(_picture(elsewhere))
        terminal.note(f"warning: {warning}")


def _picture(address: str) -> str:
    """The address as a QR code, for the camera of a phone."""
    import segno

    drawn = io.StringIO()
    segno.make(address, error="l", micro=False).terminal(out=drawn, border=2, compact=True)
    return drawn.getvalue()
