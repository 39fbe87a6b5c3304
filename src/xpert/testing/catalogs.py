"""The tests that every catalog must pass: the law of `xpert.pool.catalog`, as a class for pytest.

Use:

    class TestMine(CatalogContract):
        def make(self, folder):
            return MyCatalog(folder / "rows")

Storage that outlives its process sets `durable = True`: then `make` on the same folder must find the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from xpert.errors import DuplicateError, NotInPoolError, PoolError
from xpert.pool.catalog import Catalog
from xpert.records import Digests, Explanation, PoolRecord, WordCoefficient


def sample_explanation(shift: float = 0.0) -> Explanation:
    """A small explanation with numbers that a careless storage would round."""
    words = tuple(
        WordCoefficient(word=word, coefficient=z + shift, low=z - 0.1, high=z + 0.1, floor=1e-17)
        for word, z in (("concise", 0.1 + 0.2), ("formal", -1 / 3), ("poetic", 5e-324))
    )
    digests = Digests(base="b" * 64, summarizer="c" * 64, prompts="d" * 64, space="e" * 64)
    return Explanation(words=words, residual=2 / 3, pairs=50, noise=0.07, interval=0.95, digests=digests)


def sample_record(name: str = "anna", **changes: Any) -> PoolRecord:
    """A record whose adapter digest follows from its name, so that other names are other adapters."""
    fields: dict[str, Any] = {
        "name": name,
        "adapter": name.encode().hex().ljust(64, "0")[:64],
        "base": "b" * 64,
        "base_name": "Große Basis/1B",
        "rank": 16,
        "target_modules": ("k_proj", "q_proj"),
        "size_bytes": 5_000_000_000,
        "created": "2025-06-23T12:00:00+00:00",
        "note": "two lines\nand 'quotes' 詩",
    }
    return PoolRecord(**{**fields, **changes})


class CatalogContract:
    """Derive, write `make`, and pytest does the rest."""

    durable = False

    def make(self, folder: Path) -> Catalog:
        """A catalog whose storage lies in `folder`, if anywhere."""
        raise NotImplementedError

    @pytest.fixture
    def catalog(self, tmp_path: Path) -> Iterator[Catalog]:
        """A fresh, empty one."""
        made = self.make(tmp_path)
        yield made
        made.close()

    def test_new_catalog_is_empty(self, catalog: Catalog) -> None:
        assert catalog.list() == []

    @pytest.mark.parametrize("explanation", [None, sample_explanation()], ids=["bare", "explained"])
    def test_added_record_comes_back_equal(self, catalog: Catalog, explanation: Explanation | None) -> None:
        record = sample_record(explanation=explanation)
        catalog.add(record)
        assert catalog.get("anna") == record
        assert catalog.list() == [record]

    def test_list_is_sorted_by_name(self, catalog: Catalog) -> None:
        for name in ("bob", "Zoe", "anna", "2pac", "a-b", "a.b", "a_b"):
            catalog.add(sample_record(name))
        assert [r.name for r in catalog.list()] == sorted(["bob", "Zoe", "anna", "2pac", "a-b", "a.b", "a_b"])

    @pytest.mark.parametrize("name", ["anna", "ANNA"])
    def test_name_is_unique_without_case(self, catalog: Catalog, name: str) -> None:
        catalog.add(sample_record())
        with pytest.raises(DuplicateError, match=r"'anna'.*choose another name"):
            catalog.add(sample_record(name, adapter="f" * 64))
        assert catalog.list() == [sample_record()]

    def test_adapter_is_unique(self, catalog: Catalog) -> None:
        catalog.add(sample_record())
        with pytest.raises(DuplicateError, match="as 'anna'"):
            catalog.add(sample_record("bob", adapter=sample_record().adapter))
        assert catalog.list() == [sample_record()]

    @pytest.mark.parametrize("name", ["bob", "ANNA", "", "anna ", "../anna", "anna' OR '1'='1", "\ud800"])
    def test_unknown_name(self, catalog: Catalog, name: str) -> None:
        catalog.add(sample_record())
        for use in (catalog.get, catalog.remove, lambda unknown: catalog.explain(unknown, None)):
            with pytest.raises(NotInPoolError):
                use(name)
        assert catalog.list() == [sample_record()]

    def test_unknown_name_says_what_is_near(self, catalog: Catalog) -> None:
        catalog.add(sample_record())
        with pytest.raises(NotInPoolError, match=r"'ana'.*did you mean anna"):
            catalog.get("ana")

    def test_explain_changes_the_explanation_alone(self, catalog: Catalog) -> None:
        first = sample_record(explanation=sample_explanation())
        catalog.add(first)
        catalog.add(sample_record("bob"))
        changed = catalog.explain("anna", sample_explanation(shift=0.5))
        assert changed == first.model_copy(update={"explanation": sample_explanation(shift=0.5)})
        assert catalog.list() == [changed, sample_record("bob")]
        assert catalog.explain("anna", None).explanation is None
        assert catalog.get("anna").explanation is None

    def test_the_space_and_explanations_change_together_or_not_at_all(self, catalog: Catalog) -> None:
        names = ("anna", "bob", "carl")
        for name in names:
            catalog.add(sample_record(name))
        before = catalog.list()
        assert catalog.space() is None
        with pytest.raises(NotInPoolError, match="'nobody'"):
            catalog.change_space("f" * 64, {"anna": sample_explanation(), "nobody": sample_explanation()})
        assert catalog.list() == before and catalog.space() is None
        catalog.change_space("f" * 64, {"anna": sample_explanation(), "bob": sample_explanation(shift=0.5)})
        assert catalog.space() == "f" * 64
        after = [record.explanation for record in catalog.list()]
        assert after == [sample_explanation(), sample_explanation(shift=0.5), None]
        assert [record.model_copy(update={"explanation": None}) for record in catalog.list()] == before

    def test_remove_gives_the_record_and_frees_name_and_adapter(self, catalog: Catalog) -> None:
        catalog.add(sample_record())
        catalog.add(sample_record("bob"))
        assert catalog.remove("anna") == sample_record()
        assert catalog.list() == [sample_record("bob")]
        catalog.add(sample_record("Anna", adapter=sample_record().adapter))
        assert [r.name for r in catalog.list()] == ["Anna", "bob"]

    def test_what_was_listed_does_not_change(self, catalog: Catalog) -> None:
        catalog.add(sample_record())
        before = catalog.list()
        catalog.explain("anna", sample_explanation())
        catalog.remove("anna")
        assert before == [sample_record()]

    def test_threads_race_for_one_name(self, catalog: Catalog) -> None:
        def attempt(number: int) -> bool:
            try:
                catalog.add(sample_record(adapter=f"{number:064x}"))
            except DuplicateError:
                return False
            return True

        with ThreadPoolExecutor(8) as threads:
            won = list(threads.map(attempt, range(8)))
        assert sum(won) == 1
        assert [r.adapter for r in catalog.list()] == [f"{won.index(True):064x}"]

    def test_close_twice(self, catalog: Catalog) -> None:
        catalog.add(sample_record())
        catalog.close()
        catalog.close()

    def test_another_opener_sees_what_was_added(self, catalog: Catalog, tmp_path: Path) -> None:
        if not self.durable:
            pytest.skip("lives in its process only")
        record = sample_record(explanation=sample_explanation())
        catalog.add(record)
        catalog.change_space("f" * 64, {})
        other = self.make(tmp_path)
        try:
            assert other.list() == [record] and other.space() == "f" * 64
            other.remove("anna")
            with pytest.raises(PoolError):
                catalog.get("anna")
        finally:
            other.close()
