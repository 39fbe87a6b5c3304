"""A pool that names a revision of its base is merged, tuned, chatted with and added to over that revision."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xpert.cli.bases import merge_base_for
from xpert.cli.chat import _named
from xpert.cli.image_sources import start_reference
from xpert.cli.merge_plans import Family, given_plan
from xpert.cli.sources import base_folder, base_of, is_merge_parent
from xpert.cli.tuning import _reference
from xpert.device import merging
from xpert.explainer import PictureExplainer
from xpert.models.reference import ModelReference
from xpert.pool import open_pool


@pytest.fixture
def pool(world: Any, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(world.pool, tmp_path / "pool"))
    with open_pool(folder) as opened:
        setup = opened.setup.model_copy(update={"base": "some/base", "base_revision": "v2"})
        same = {record.adapter: record.explanation for record in opened.list() if record.explanation is not None}
        assert opened.change_space(opened.space, setup, same) == []
    return folder


def test_every_command_takes_the_pools_revision(pool: Path) -> None:
    with open_pool(pool, read_only=True) as opened:
        adapter = str(opened.adapter_path("calm"))
        assert base_of(opened) == base_of(opened, "calm") == ModelReference("some/base", revision="v2")
    wanted = ModelReference("some/base", adapter, "v2")
    assert _reference(None, None, "calm", pool) == start_reference(None, None, "calm", pool) == wanted
    assert start_reference(None, None, None, pool) == ModelReference("some/base", revision="v2")
    assert _named(None, "calm", pool, None)[2] == ModelReference("some/base", revision="v2")
    assert _reference("other/base", None, "calm", pool) == ModelReference("other/base", adapter)


def test_merging_and_adding_resolve_that_revision(pool: Path, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def resolve(model: str, revision: str | None = None) -> Path:
        asked.append((model, revision))
        return Path(world.base)

    assert given_plan(["calm=1"], pool, Family(is_merge_parent, merge_base_for, resolve), None).base == "some/base"
    monkeypatch.setattr("xpert.models.reference.resolve_folder", resolve)
    base_folder(ModelReference("some/base", revision="v2"), world.adapters[0])
    monkeypatch.setattr(merging, "resolve_pipeline", resolve)
    monkeypatch.setattr(merging, "merge_image_adapters", lambda *_, **__: None)
    explainer = object.__new__(PictureExplainer)
    explainer.prober = SimpleNamespace(base=ModelReference("some/base", revision="v2"))  # type: ignore[assignment]
    with open_pool(pool, read_only=True) as opened:
        merging.write_merge({"calm": 1.0}, opened, explainer, pool / "out")
    assert asked == [("some/base", "v2")] * 3
