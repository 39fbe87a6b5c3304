"""From a pool folder to something that explains: loads what the pool's setup names, builds a space where asked."""

from __future__ import annotations

from pathlib import Path

from xpert.building import BuiltSpace, build_space
from xpert.errors import PoolError
from xpert.explainer import Explainer, Prober
from xpert.explaining import explain_embeddings
from xpert.models.generation import Progress
from xpert.models.loading import LoadedModel, load_model
from xpert.models.reference import ModelReference
from xpert.pool.publishing import Pool
from xpert.pool.setup import SPACE_FILE, PoolSetup, read_setup, write_setup
from xpert.probing.rewriting import InstructRewriter, Rewriter, StyleTurns
from xpert.probing.text import ProbeSettings
from xpert.space.storing import load_space, save_space
from xpert.summarizing.encoder import EncoderSummarizer
from xpert.summarizing.language import LanguageSummarizer
from xpert.summarizing.summarizer import Summarizer


def load_summarizer(setup: PoolSetup, *, device: str = "auto") -> Summarizer:
    """The summarizer that a setup names."""
    if setup.summarizer_kind == "encoder":
        return EncoderSummarizer(None if setup.summarizer == "packaged" else Path(setup.summarizer))
    return LanguageSummarizer(load_model(ModelReference(setup.summarizer), device=device))


def load_prober(setup: PoolSetup, *, device: str = "auto", base: LoadedModel | None = None) -> Prober:
    """The base that a setup names, ready to answer the probe prompts."""
    base = base or load_model(ModelReference(setup.base, revision=setup.base_revision), device=device)
    probe = ProbeSettings(setup.max_new_tokens, setup.temperature, setup.top_p, setup.seed, setup.draws)
    return Prober(base, settings=probe)


def open_explainer(pool: Path, *, device: str = "auto") -> Explainer:
    """Everything that explains in the space of a pool.

    Raises:
        PoolError: the pool has no space yet.
        MissingModelError: a model that its setup names is not here.
        MismatchError, SpaceError: what is here is not what the space was built with.
    """
    setup = read_setup(pool)
    space = load_space(pool / SPACE_FILE)
    return Explainer(load_prober(setup, device=device), load_summarizer(setup, device=device), space)


def rebuild(pool: Pool, setup: PoolSetup, *, device: str = "auto", on_progress: Progress | None = None) -> BuiltSpace:
    """Build a new space over all pLLMs of a pool, then explain each again in it.

    The old space stays until the new one is complete.

    Raises:
        PoolError: the pool is empty: there is nothing to take words from.
    """
    records = pool.list()
    if pool.folder is None:
        raise PoolError("this pool has no folder, so its space has no place: open it with `open_pool(folder)`")
    if not records:
        raise PoolError("the pool is empty: add adapters before its space can be built")
    prober, summarizer = load_prober(setup, device=device), load_summarizer(setup, device=device)
    rewriter: Rewriter = StyleTurns(prober.base, prober.settings, setup.contrasts)
    if setup.rewriter == "summarizer" and isinstance(summarizer, LanguageSummarizer):
        rewriter = InstructRewriter(summarizer.loaded)
    adapters = {record.name: pool.adapter_path(record.name) for record in records}
    built = build_space(prober, summarizer, adapters, rewriter, exact_words=setup.exact_words, on_progress=on_progress)
    explanations = {
        name: explain_embeddings(rows, built.space, prompts=prober.digest) for name, rows in built.embeddings.items()
    }
    measured = built.calibration.cosine_held_out if built.calibration else None
    save_space(built.space, pool.folder / SPACE_FILE)
    write_setup(pool.folder, setup.model_copy(update={"fast_path_cosine": measured}))
    by_path = {path: name for name, path in adapters.items()}
    pool.reindex(lambda path: explanations[by_path[path]])
    return built
