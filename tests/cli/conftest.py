"""Command lines that are run as a person would, and a small pool that is explained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpert.cli.app import main


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document that stdout holds."""
        return json.loads(self.out)


@dataclass(frozen=True)
class SmallWorld:
    """A tiny base, three adapters of it, a pool of two of them, and a person's data."""

    base: Path
    adapters: tuple[Path, ...]
    pool: Path
    data: Path


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("XPERT_POOL", raising=False)
    monkeypatch.delenv("XPERT_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> SmallWorld:
    from xpert.explainer import Explainer
    from xpert.opening import load_prober, load_summarizer
    from xpert.pool.creating import create_pool
    from xpert.pool.setup import PoolSetup
    from xpert.space.basis import Space
    from xpert.testing.tiny import tiny_adapter, tiny_base

    place = tmp_path_factory.mktemp("small-world")
    base, reader = tiny_base(place / "base"), tiny_base(place / "reader", seed=1)
    adapters = tuple(tiny_adapter(base, place / f"adapter-{n}", seed=n, scale=1.0) for n in range(3))
    folder = place / "pool"
    setup = PoolSetup(base=str(base), summarizer=str(reader), rewriter="base", max_new_tokens=6)
    prober, summarizer = load_prober(setup), load_summarizer(setup)
    null = summarizer.embed(prober.null_pairs()[:8])
    # Two planted words: random directions, as good as any for models that speak no language.
    directions = np.random.default_rng(0).normal(size=(2, null.shape[1]))
    space = Space(
        words=("formal", "poetic"),
        vectors=directions / np.linalg.norm(directions, axis=1, keepdims=True),
        origin=null.mean(0),
        null=null,
        scale=1.0,
        summarizer=summarizer.identity,
        base=prober.base.digest,
        prompts=prober.digest,
    )
    explainer = Explainer(prober, summarizer, space)
    with create_pool(folder, (space, setup)) as pool:
        for name, adapter in zip(("calm", "loud"), adapters, strict=False):
            explain = explainer.explain_adapter
            pool.add(adapter, base_folder=base, base_name=str(base), name=name, explain=explain)
    data = place / "me.jsonl"
    rows = [{"prompt": f"question {n}?", "response": f"answer number {n}, as I would say it"} for n in range(8)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return SmallWorld(base, adapters, folder, data)
