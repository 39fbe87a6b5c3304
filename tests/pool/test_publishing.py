"""A pool as a user meets it: add, list, get, remove, reindex, and every refusal."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from xpert.errors import (
    DamagedModelError,
    DuplicateError,
    MismatchError,
    MissingModelError,
    NotInPoolError,
    PoolError,
    SpaceError,
    StorageError,
)
from xpert.models.adapters import ADAPTER_FILES, check_fit, inspect_adapter
from xpert.models.cards import CARD
from xpert.models.reference import model_digest
from xpert.pool import Pool, open_pool
from xpert.pool.artifacts import ArtifactStore
from xpert.pool.memory import MemoryCatalog
from xpert.pool.names import check_name
from xpert.records import Explanation, PoolRecord
from xpert.testing.catalogs import sample_explanation
from xpert.testing.tiny import tiny_adapter, tiny_base
from xpert.testing.tiny_pictures import Studio

NO_NAMES = ["", ".", "..", "../anna", "a/b", "a\\b", "/etc/passwd", "C:x", "-rf", "_a", ".a", "a.", "a b", "a\n", "a\0"]
NO_NAMES += ["ä", "con", "NUL", "aux.txt", "COM1", "lpt9.tar.gz", "https://x", "a%2fb"]


@pytest.fixture(params=["folder", "memory"])
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> Pool:
    if request.param == "folder":
        return open_pool(tmp_path / "pool")
    return Pool(MemoryCatalog(), ArtifactStore(tmp_path / "pool" / "artifacts"))


def add(pool: Pool, adapter: Path, base: Path, name: str = "anna", **more: object) -> PoolRecord:
    return pool.add(adapter, base_folder=base, base_name="tiny", name=name, **more)  # type: ignore[arg-type]


def never(_: Path) -> Explanation:
    raise AssertionError("explained, although it had to be refused before")


class TestAdd:
    def test_record_holds_what_the_adapter_is(self, pool: Pool, base: Path, adapters: list[Path]) -> None:
        asked: list[Path] = []

        def explain(folder: Path) -> Explanation:
            asked.append(folder)
            return sample_explanation()

        record = add(pool, adapters[0], base, explain=explain, note="writes verse")
        facts = inspect_adapter(adapters[0])
        assert asked == [adapters[0]]
        assert record.explanation == sample_explanation()
        assert (record.adapter, record.base, record.base_name) == (facts.digest, model_digest(base), "tiny")
        assert (record.rank, record.target_modules, record.note) == (4, ("q_proj", "v_proj"), "writes verse")
        assert record.size_bytes == facts.size_bytes
        assert record.created.endswith("+00:00")
        assert pool.get("anna") == record
        assert pool.list() == [record]

    def test_published_folder_is_a_plain_peft_folder(self, pool: Pool, base: Path, adapters: list[Path]) -> None:
        add(pool, adapters[0], base)
        folder = pool.adapter_path("anna")
        assert {f.name: f.read_bytes() for f in folder.iterdir()} == {
            name: (adapters[0] / name).read_bytes() for name in (*ADAPTER_FILES, CARD)
        }
        facts = inspect_adapter(folder)
        check_fit(facts, base)
        assert facts.digest == pool.get("anna").adapter

    def test_adapter_without_a_card(self, pool: Pool, base: Path, adapters: list[Path], tmp_path: Path) -> None:
        bare = Path(shutil.copytree(adapters[0], tmp_path / "bare"))
        (bare / CARD).unlink()
        add(pool, bare, base)
        assert sorted(f.name for f in pool.adapter_path("anna").iterdir()) == sorted(ADAPTER_FILES)

    def test_of_a_pipeline_the_unet_is_explained_and_published_with_the_card(
        self, pool: Pool, studio: Studio, tmp_path: Path
    ) -> None:
        from xpert.models.pipelines import pipeline_digest

        whole = Path(shutil.copytree(studio.other, tmp_path / "whole"))
        card = f"---\nxpert:\n  base_sha256: {pipeline_digest(studio.pipeline)}\n---\n"
        (whole / CARD).write_text(card)
        asked: list[list[str]] = []

        def explain(folder: Path) -> Explanation:
            asked.append(sorted(file.name for file in folder.iterdir() if file.name != CARD))
            return sample_explanation()

        add(pool, whole, studio.pipeline, explain=explain)
        pool.reindex(explain)
        assert asked == [["config.json", "diffusion_pytorch_model.safetensors"]] * 2
        published = pool.adapter_path("anna")
        assert (published / CARD).read_text() == card
        assert not any(file.is_symlink() for file in published.iterdir())
        assert pool.artifacts.verify(pool.get("anna").adapter)

    @pytest.mark.parametrize("name", ["a", "A-1_b.c", "7b", "x" * 80, "console", "com10"])
    def test_names_that_are_allowed(self, pool: Pool, base: Path, adapters: list[Path], name: str) -> None:
        add(pool, adapters[0], base, name)
        assert pool.get(name).name == name

    @pytest.mark.parametrize(
        "name",
        [*NO_NAMES, "x" * 81, "\ud800"],
    )
    def test_names_that_are_no_file_names_everywhere(
        self, pool: Pool, base: Path, adapters: list[Path], name: str
    ) -> None:
        with pytest.raises(PoolError, match="cannot be a name in a pool"):
            add(pool, adapters[0], base, name, explain=never)
        assert pool.list() == []
        assert pool.artifacts.digests() == []

    @pytest.mark.parametrize("name", ["anna", "Anna"])
    def test_name_twice(self, pool: Pool, base: Path, adapters: list[Path], name: str) -> None:
        first = add(pool, adapters[0], base)
        with pytest.raises(DuplicateError, match="'anna' already"):
            add(pool, adapters[1], base, name, explain=never)
        assert pool.list() == [first]
        assert pool.artifacts.digests() == [first.adapter]

    def test_content_twice(self, pool: Pool, base: Path, adapters: list[Path]) -> None:
        first = add(pool, adapters[0], base)
        with pytest.raises(DuplicateError, match="this adapter already, as 'anna'"):
            add(pool, adapters[0], base, "bob", explain=never)
        assert pool.list() == [first]
        assert pool.artifacts.verify(first.adapter)

    def test_second_base(self, pool: Pool, base: Path, adapters: list[Path], tmp_path: Path) -> None:
        add(pool, adapters[0], base)
        other = tiny_base(tmp_path / "other", seed=7)
        with pytest.raises(MismatchError, match="the pool is for base tiny"):
            add(pool, tiny_adapter(other, tmp_path / "theirs", seed=9), other, "bob", explain=never)
        assert [record.name for record in pool.list()] == ["anna"]
        assert len(pool.artifacts.digests()) == 1

    def test_adapter_of_a_wider_base(self, pool: Pool, base: Path, tmp_path: Path) -> None:
        other = tiny_base(tmp_path / "other", width=64)
        with pytest.raises(MismatchError, match="does not fit base"):
            add(pool, tiny_adapter(other, tmp_path / "theirs"), base, explain=never)
        assert pool.list() == []

    def test_damaged_adapter(self, pool: Pool, base: Path, adapters: list[Path], tmp_path: Path) -> None:
        half = Path(shutil.copytree(adapters[0], tmp_path / "half"))
        weights = half / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        with pytest.raises(DamagedModelError, match="truncated"):
            add(pool, half, base, explain=never)
        with pytest.raises(MissingModelError):
            add(pool, tmp_path / "none", base, explain=never)
        assert pool.list() == []

    @pytest.mark.parametrize("failure", [SpaceError("no space"), KeyboardInterrupt(), RuntimeError("out of memory")])
    def test_explaining_that_fails_leaves_nothing(
        self, pool: Pool, base: Path, adapters: list[Path], failure: BaseException
    ) -> None:
        def explain(_: Path) -> Explanation:
            raise failure

        with pytest.raises(type(failure)):
            add(pool, adapters[0], base, explain=explain)
        assert pool.list() == []
        assert pool.artifacts.digests() == []
        assert add(pool, adapters[0], base).name == "anna"

    def test_adapter_that_changes_while_it_is_explained(
        self, pool: Pool, base: Path, adapters: list[Path], tmp_path: Path
    ) -> None:
        moving = Path(shutil.copytree(adapters[0], tmp_path / "moving"))

        def explain(folder: Path) -> Explanation:
            shutil.copy(adapters[1] / "adapter_model.safetensors", folder)
            return sample_explanation()

        with pytest.raises(DamagedModelError, match="changed while it was read"):
            add(pool, moving, base, explain=explain)
        assert pool.list() == []
        assert pool.artifacts.digests() == []

    def test_name_that_is_taken_while_explaining(self, pool: Pool, base: Path, adapters: list[Path]) -> None:
        def explain(_: Path) -> Explanation:
            add(pool, adapters[1], base)
            return sample_explanation()

        with pytest.raises(DuplicateError):
            add(pool, adapters[0], base, explain=explain)
        assert [record.adapter for record in pool.list()] == pool.artifacts.digests()
        assert pool.artifacts.verify(pool.get("anna").adapter)

    def test_content_that_is_taken_while_explaining_stays(self, pool: Pool, base: Path, adapters: list[Path]) -> None:
        def explain(_: Path) -> Explanation:
            add(pool, adapters[0], base, "first")
            return sample_explanation()

        with pytest.raises(DuplicateError):
            add(pool, adapters[0], base, "second", explain=explain)
        assert [record.name for record in pool.list()] == ["first"]
        assert pool.artifacts.verify(pool.get("first").adapter)

    def test_note_that_no_terminal_prints(self, pool: Pool, base: Path, adapters: list[Path]) -> None:
        add(pool, adapters[0], base, note="a\ud800b\x1b[2J")
        assert pool.get("anna").note == "a?b?[2J"


class TestRemove:
    def test_row_and_files_go(self, pool: Pool, base: Path, adapters: list[Path]) -> None:
        first, second = add(pool, adapters[0], base), add(pool, adapters[1], base, "bob")
        assert pool.remove("anna") == first
        assert pool.list() == [second]
        assert pool.artifacts.digests() == [second.adapter]
        for use in (pool.get, pool.adapter_path, pool.remove):
            with pytest.raises(NotInPoolError, match="no pLLM named 'anna'"):
                use("anna")
        assert add(pool, adapters[0], base).adapter == first.adapter

    def test_last_one_frees_the_pool_for_another_base(
        self, pool: Pool, base: Path, adapters: list[Path], tmp_path: Path
    ) -> None:
        add(pool, adapters[0], base)
        pool.remove("anna")
        other = tiny_base(tmp_path / "other", seed=7)
        assert add(pool, adapters[0], other).base == model_digest(other)

    def test_row_whose_files_are_gone(self, pool: Pool, base: Path, adapters: list[Path]) -> None:
        record = add(pool, adapters[0], base)
        shutil.rmtree(pool.artifacts.path(record.adapter))
        with pytest.raises(StorageError, match=r"files of 'anna' are missing.*add it again"):
            pool.adapter_path("anna")
        pool.remove("anna")
        assert pool.artifacts.verify(add(pool, adapters[0], base).adapter)

    def test_files_that_cannot_be_deleted_are_spoken_of(
        self, pool: Pool, base: Path, adapters: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(pool, adapters[0], base)

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", refuse)
            with pytest.raises(StorageError, match=r"no longer in the pool.*reindexing"):
                pool.remove("anna")
        assert pool.list() == []
        assert len(pool.reindex(never).swept) == 1
        assert pool.artifacts.digests() == []


class TestReindex:
    def test_all_are_explained_anew(self, pool: Pool, base: Path, adapters: list[Path]) -> None:
        for number, adapter in enumerate(adapters):
            add(pool, adapter, base, f"p{number}", explain=lambda _: sample_explanation())
        steps: list[tuple[str, int, int]] = []
        seen: list[Path] = []

        def explain(folder: Path) -> Explanation:
            seen.append(folder)
            return sample_explanation(shift=len(seen))

        before = pool.list()
        report = pool.reindex(explain, lambda *step: steps.append(step))
        assert (report.explained, report.swept) == (("p0", "p1", "p2"), ())
        assert seen == [pool.adapter_path(name) for name in report.explained]
        assert [record.explanation for record in pool.list()] == [sample_explanation(shift=n) for n in (1, 2, 3)]
        assert steps == [("explain", n, 3) for n in range(4)]
        plain = [record.model_copy(update={"explanation": None}) for record in before]
        assert [record.model_copy(update={"explanation": None}) for record in pool.list()] == plain

    def test_interrupt_keeps_what_is_done(self, pool: Pool, base: Path, adapters: list[Path]) -> None:
        for number, adapter in enumerate(adapters):
            add(pool, adapter, base, f"p{number}")

        def explain(folder: Path) -> Explanation:
            if folder == pool.adapter_path("p1"):
                raise KeyboardInterrupt
            return sample_explanation()

        with pytest.raises(KeyboardInterrupt):
            pool.reindex(explain)
        assert [record.explanation for record in pool.list()] == [sample_explanation(), None, None]

    def test_pllm_that_is_removed_meanwhile(self, pool: Pool, base: Path, adapters: list[Path]) -> None:
        add(pool, adapters[0], base, "p0")
        add(pool, adapters[1], base, "p1")

        def explain(folder: Path) -> Explanation:
            if "p0" in [record.name for record in pool.list()]:
                pool.remove("p0")
            return sample_explanation()

        assert pool.reindex(explain).explained == ("p1",)
        assert [record.name for record in pool.list()] == ["p1"]

    def test_pllm_that_is_removed_before_its_turn(self, pool: Pool, base: Path, adapters: list[Path]) -> None:
        for number in (0, 1):
            add(pool, adapters[number], base, f"p{number}")

        def explain(folder: Path) -> Explanation:
            if "p1" in [record.name for record in pool.list()]:
                pool.remove("p1")
            assert (folder / "adapter_config.json").is_file(), "its files are gone"
            return sample_explanation()

        assert pool.reindex(explain).explained == ("p0",)

    def test_pllm_that_is_removed_while_files_are_verified(
        self, pool: Pool, base: Path, adapters: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in (0, 1):
            add(pool, adapters[number], base, f"p{number}")
        whole = pool.artifacts.verify

        def verify(_: object, digest: str) -> bool:
            if "p1" in [record.name for record in pool.list()]:
                pool.remove("p1")
            return whole(digest)

        monkeypatch.setattr("xpert.pool.artifacts.ArtifactStore.verify", verify)
        assert pool.reindex(lambda _: sample_explanation()).explained == ("p0",)

    def test_files_that_no_row_names_stay_and_are_told_of(self, pool: Pool, base: Path, adapters: list[Path]) -> None:
        record = add(pool, adapters[0], base)
        orphan = pool.artifacts.put(adapters[1], ADAPTER_FILES)
        report = pool.reindex(lambda _: sample_explanation())
        assert (report.swept, report.orphans, pool.orphans()) == ((), (orphan,), (orphan,))
        assert pool.artifacts.digests() == sorted([record.adapter, orphan])

    def test_missing_and_damaged_files_are_an_error_before_anything_is_explained(
        self, pool: Pool, base: Path, adapters: list[Path]
    ) -> None:
        records = [add(pool, adapter, base, f"p{number}") for number, adapter in enumerate(adapters)]
        shutil.rmtree(pool.artifacts.path(records[0].adapter))
        (pool.artifacts.path(records[2].adapter) / "adapter_config.json").write_text("{}")
        with pytest.raises(StorageError, match=r"files of p0, p2 are missing or damaged.*remove these"):
            pool.reindex(never)
        assert pool.list() == records


class TestOpen:
    def test_again(self, base: Path, adapters: list[Path], tmp_path: Path) -> None:
        with open_pool(tmp_path / "deep" / "pool") as pool:
            record = add(pool, adapters[0], base, explain=lambda _: sample_explanation())
        with open_pool(str(tmp_path / "deep" / "pool"), create=False) as again:
            assert again.list() == [record]
            assert inspect_adapter(again.adapter_path("anna")).digest == record.adapter

    def test_pool_can_be_moved(self, base: Path, adapters: list[Path], tmp_path: Path) -> None:
        with open_pool(tmp_path / "pool") as pool:
            record = add(pool, adapters[0], base)
        (tmp_path / "pool").rename(tmp_path / "moved")
        with open_pool(tmp_path / "moved") as moved:
            assert moved.artifacts.verify(record.adapter)
            assert moved.adapter_path("anna").is_relative_to(tmp_path / "moved")

    @pytest.mark.parametrize("how", [{"create": False}, {"read_only": True}])
    def test_where_there_is_none(self, tmp_path: Path, how: dict[str, bool]) -> None:
        with pytest.raises(PoolError, match=r"no pool in .*nowhere"):
            open_pool(tmp_path / "nowhere", **how)
        assert list(tmp_path.iterdir()) == []

    def test_what_others_keep_beside_it_stays(self, base: Path, adapters: list[Path], tmp_path: Path) -> None:
        with open_pool(tmp_path / "pool") as pool:
            (tmp_path / "pool" / "space").mkdir()
            (tmp_path / "pool" / "space" / "basis").write_text("words")
            add(pool, adapters[0], base)
            pool.reindex(lambda _: sample_explanation())
        assert (tmp_path / "pool" / "space" / "basis").read_text() == "words"

    def test_read_only(self, base: Path, adapters: list[Path], tmp_path: Path) -> None:
        with open_pool(tmp_path / "pool") as pool:
            record = add(pool, adapters[0], base)
        places = [tmp_path / "pool", *(tmp_path / "pool").rglob("*")]
        before = {place: place.stat().st_mtime_ns for place in places}
        for place in places:
            place.chmod(0o555 if place.is_dir() else 0o444)
        try:
            with open_pool(tmp_path / "pool", read_only=True) as closed:
                assert closed.list() == [record]
                assert inspect_adapter(closed.adapter_path("anna")).digest == record.adapter
                with pytest.raises(PoolError, match=r"cannot add to pool .*one of your own"):
                    add(closed, adapters[1], base, "bob", explain=never)
                with pytest.raises(PoolError, match="cannot remove from pool"):
                    closed.remove("anna")
                with pytest.raises(PoolError, match="cannot reindex pool"):
                    closed.reindex(never)
        finally:
            for place in places:
                place.chmod(0o755 if place.is_dir() else 0o644)
        assert {
            place: place.stat().st_mtime_ns for place in (tmp_path / "pool", *(tmp_path / "pool").rglob("*"))
        } == before

    def test_importing_loads_nothing_heavy(self) -> None:
        import subprocess

        code = "import sys, xpert.pool; print({'torch', 'transformers', 'peft', 'sqlalchemy'} & set(sys.modules))"
        printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert printed.strip() == "set()"


@pytest.mark.parametrize(("name", "better"), [("con", "con-1"), ("con.txt", "con-1.txt"), ("LPT1.a.b", "LPT1-1.a.b")])
def test_a_name_of_a_device_comes_with_one_that_is_allowed(name: str, better: str) -> None:
    with pytest.raises(PoolError, match=rf"as in '{better}'"):
        check_name(name)
    check_name(better)
