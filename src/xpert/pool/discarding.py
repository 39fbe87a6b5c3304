"""Adapters that no row names go for good, when somebody asks for it and never by the way."""

from __future__ import annotations

from collections.abc import Iterable

from xpert.errors import PoolError
from xpert.pool.pool import Pool
from xpert.printing import printable

_SHORTEST_DIGEST = 8


def discard(pool: Pool, wanted: Iterable[str] | None) -> tuple[str, ...]:
    """Delete adapters that no row names.

    Args:
        pool: to be changed.
        wanted: their digests, or at least eight first digits of each; None: all of them.

    Returns:
        The digests of what was deleted.

    Raises:
        PoolError: one is no such adapter, all are wanted though files of rows are missing, or the pool is read only.
        StorageError: the disk refused.
    """
    with pool.artifacts.lock():
        records, orphans = pool.list(), pool.orphans()
        lost = [record.name for record in records if not pool.artifacts.has(record.adapter)]
        if wanted is None and lost:
            raise PoolError(
                f"the catalog names {', '.join(lost[:8])}, whose files are not here: it may be another pool's or an "
                "older one, so not all that it does not name is deleted; restore the catalog first, or give digests"
            )
        chosen = list(orphans) if wanted is None else [_one_of(orphans, digest) for digest in wanted]
        for digest in chosen:
            pool.artifacts.delete(digest)
    return tuple(chosen)


def _one_of(orphans: Iterable[str], wanted: str) -> str:
    found = [digest for digest in orphans if digest.startswith(wanted)]
    if len(wanted) < _SHORTEST_DIGEST or len(found) != 1:
        raise PoolError(
            f"{printable(wanted, 70)!r} is not the digest of one adapter without a row: give {_SHORTEST_DIGEST} or "
            "more first digits, as `xpert pool list` shows them; a pLLM with a name goes by `xpert pool remove NAME`"
        )
    return found[0]
