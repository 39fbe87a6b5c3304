"""A catalog that lives as long as its process: for tests, notebooks and pools that are built on the fly."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

from xpert.pool.catalog import Records, refuse_duplicate, unknown
from xpert.records import Explanation, PoolRecord


class MemoryCatalog:
    """`Catalog` in a dictionary; its law is in `xpert.pool.catalog`. Nothing is shared between processes."""

    def __init__(self) -> None:
        self._rows: dict[str, PoolRecord] = {}
        self._space: str | None = None
        self._lock = Lock()

    def add(self, record: PoolRecord) -> None:
        """Add a record; see `Catalog.add`."""
        with self._lock:
            refuse_duplicate(record.name, record.adapter, self._rows.values())
            self._rows[record.name] = record

    def explain(self, name: str, explanation: Explanation | None) -> PoolRecord:
        """Replace the explanation of a record; see `Catalog.explain`."""
        with self._lock:
            changed = self._row(name).model_copy(update={"explanation": explanation})
            self._rows[name] = changed
            return changed

    def space(self) -> str | None:
        """The space of the pool; see `Catalog.space`."""
        return self._space

    def change_space(self, space: str | None, explanations: Mapping[str, Explanation]) -> None:
        """Name another space and explain records in it; see `Catalog.change_space`."""
        with self._lock:
            self._rows |= {
                name: self._row(name).model_copy(update={"explanation": explanation})
                for name, explanation in explanations.items()
            }
            self._space = space

    def get(self, name: str) -> PoolRecord:
        """The record of this name; see `Catalog.get`."""
        with self._lock:
            return self._row(name)

    def list(self) -> Records:
        """All records by name; see `Catalog.list`."""
        with self._lock:
            return sorted(self._rows.values(), key=lambda row: row.name)

    def remove(self, name: str) -> PoolRecord:
        """Remove a record; see `Catalog.remove`."""
        with self._lock:
            row = self._row(name)
            del self._rows[name]
            return row

    def close(self) -> None:
        """Nothing to give back."""

    def _row(self, name: str) -> PoolRecord:
        if name not in self._rows:
            raise unknown(name, self._rows)
        return self._rows[name]
