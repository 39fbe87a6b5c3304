"""The sample people that come with the package: is there one of this name? Knows names; reads no messages."""

from __future__ import annotations

from xpert.embedded import people
from xpert.errors import SettingsError


def sample_person(name: str, *, mark: str = "") -> str:
    """The name of a sample person, checked before any work.

    Args:
        name: without the mark.
        mark: what stands before a name where the user writes it, such as the "@" of the command line; the error
            shows names with it.

    Raises:
        SettingsError: no such sample person.
    """
    known = sorted(people())
    if name not in known:
        raise SettingsError(f"no sample person '{mark}{name}': choose from {', '.join(f'{mark}{n}' for n in known)}")
    return name
