"""Names in a pool: file names on every system. Knows texts only."""

from __future__ import annotations

import re

from xpert.errors import PoolError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)


def check_name(name: str) -> None:
    """The rule for names in a pool: they are file names on every system.

    Raises:
        PoolError: not 1 to 80 letters, digits, dots, dashes and underscores that start with a letter or digit and do
            not end with a dot, or a name that Windows keeps for devices.
    """
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise PoolError(
            f"{name[:100]!r} cannot be a name in a pool: 1 to 80 letters, digits, '.', '-' and '_' are allowed, a "
            "letter or digit first, no dot last, as in 'poet-7b'"
        )
    if _RESERVED.fullmatch(name):
        first, dot, rest = name.partition(".")
        raise PoolError(
            f"{name!r} cannot be a name in a pool: Windows keeps it for a device; add a word, as in "
            f"'{first}-1{dot}{rest}'"
        )
