"""What every catalog of a pool must do: the Protocol and its law.

Knows records only; never sees the bytes of an adapter. `xpert.testing.catalogs` holds the tests of this law.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

from xpert.errors import DuplicateError, NotInPoolError
from xpert.records import Explanation, PoolRecord

Records: TypeAlias = list[PoolRecord]


class Catalog(Protocol):
    """The rows of a pool, one a pLLM, and which space they are explained in.

    Law, for every implementation:

    - A record that `add` returned from MUST be given back equal, in every field, by `get` and `list`, also by
      another process that opens the same storage afterwards.
    - Within a catalog no two records MUST have the same name, letters compared without case (file systems that
      ignore case would mix them up), and no two the same adapter digest.
    - Every method MUST be atomic: it happens as a whole, or it raises and nothing changed. This holds for
      interrupts, a full disk and several processes at once; a busy storage MUST be waited for, for seconds.
    - Methods MUST NOT change what they are given, and what they return MUST NOT change later.
    - Failures of the storage MUST be raised as `StorageError`, never as errors of the library below.
    - Methods MUST be callable from several threads.
    """

    def add(self, record: PoolRecord) -> None:
        """Add a record.

        Raises:
            DuplicateError: the name or the adapter digest is there already; the text says which.
            StorageError: the storage refused.
        """
        ...

    def explain(self, name: str, explanation: Explanation | None) -> PoolRecord:
        """Replace the explanation of a record, and nothing else; returns the new record.

        Raises:
            NotInPoolError: no record of this name.
            StorageError: the storage refused.
        """
        ...

    def space(self) -> str | None:
        """Digest of the artifact that is the space of the pool; None where it has none.

        Raises:
            StorageError: the storage refused.
        """
        ...

    def change_space(self, space: str | None, explanations: Mapping[str, Explanation]) -> None:
        """Name another space and replace explanations of records: all of it, or where it raises nothing.

        Raises:
            NotInPoolError: no record of one of the names.
            StorageError: the storage refused.
        """
        ...

    def get(self, name: str) -> PoolRecord:
        """The record of exactly this name (here case counts).

        Raises:
            NotInPoolError: no record of this name.
            StorageError: the storage refused.
        """
        ...

    def list(self) -> Records:
        """All records, sorted by name (by code point).

        Raises:
            StorageError: the storage refused.
        """
        ...

    def remove(self, name: str) -> PoolRecord:
        """Remove the record of exactly this name; returns it.

        Raises:
            NotInPoolError: no record of this name.
            StorageError: the storage refused.
        """
        ...

    def close(self) -> None:
        """Give back files and connections; calling it twice MUST be harmless."""
        ...


def refuse_duplicate(name: str, adapter: str, rows: Iterable[PoolRecord]) -> None:
    """The rule of uniqueness, for implementations and for early checks.

    Raises:
        DuplicateError: one of `rows` has the name, without case, or the adapter digest.
    """
    for row in rows:
        if row.name.lower() == name.lower():
            raise DuplicateError(
                f"the pool has a pLLM named {row.name!r} already (letters count without case): choose another name "
                f"than {name!r}, or remove the old one first"
            )
        if row.adapter == adapter:
            raise DuplicateError(
                f"the pool has this adapter already, as {row.name!r} (digest {adapter[:12]}…): use that one, or remove "
                "it first"
            )


def unknown(name: str, known: Iterable[str]) -> NotInPoolError:
    """The error for a name that no record has; names what is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "list the pool to see its names"
    return NotInPoolError(f"the pool has no pLLM named {name[:100]!r}: {hint}")
