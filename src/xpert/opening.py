"""From a pool folder to something that explains: loads what the pool's setup names, builds a space where asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from xpert.building import BuiltSpace, build_space
from xpert.errors import PoolError, SettingsError
from xpert.explainer import AdapterExplainer, Explainer, PictureExplainer, Prober
from xpert.explaining import explain_embeddings
from xpert.models.generation import Progress
from xpert.models.loading import LoadedModel, load_model
from xpert.models.reference import ModelReference
from xpert.pool.pool import Pool, open_pool
from xpert.pool.reindexing import explain_if_there
from xpert.pool.setup import PoolSetup
from xpert.probing.pictures import PaintSettings, PictureProber, picture_folder
from xpert.probing.rewriting import InstructRewriter, Rewriter, StyleTurns
from xpert.probing.text import ProbeSettings
from xpert.records import Explanation
from xpert.space.basis import Space
from xpert.summarizing.clip import ClipSummarizer
from xpert.summarizing.encoder import EncoderSummarizer
from xpert.summarizing.language import LanguageSummarizer
from xpert.summarizing.summarizer import Summarizer

MOST_WORDS_PICTURES = 24
"""Visual styles are many, and each of a pool's models may need a word of its own."""


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


def _read(pool: Pool | Path | str) -> tuple[Space, PoolSetup]:
    """Space and setup of a pool, which may be given by its folder."""
    if isinstance(pool, Pool):
        return pool.space_and_setup()
    with open_pool(pool, create=False, read_only=True) as opened:
        return opened.space_and_setup()


def open_explainer(pool: Pool | Path | str, *, device: str = "auto") -> Explainer:
    """Everything that explains in the space of a pool, which may be given by its folder.

    Raises:
        PoolError: the pool has no space yet.
        MissingModelError: a model that its setup names is not here.
        MismatchError, SpaceError: what is here is not what the space was built with.
    """
    space, setup = _read(pool)
    if setup.pictures is not None:
        place = pool.folder if isinstance(pool, Pool) else pool
        raise SettingsError(f"{place} is a pool of image models: use `xpert image`, or give --pool of language models")
    return Explainer(load_prober(setup, device=device), load_summarizer(setup, device=device), space)


def load_picture_prober(setup: PoolSetup, *, device: str = "auto") -> PictureProber:
    """The pipeline that a setup names, ready to paint its captions; loaded when it paints.

    Raises:
        SettingsError: it is the setup of a pool of language models.
    """
    how = setup.pictures
    if how is None:
        raise SettingsError("this is a pool of language models: give --pool of a pool of image models")
    settings = PaintSettings(how.steps, how.guidance_scale, how.resolution, setup.seed)
    base = ModelReference(setup.base, revision=setup.base_revision)
    return PictureProber(base, how.captions, settings, picture_folder(), device=device)


def load_clip(setup: PoolSetup, *, device: str = "auto") -> ClipSummarizer:
    """The CLIP that a setup names, with the vision-language model that proposes words where it names one."""
    how = setup.pictures
    assert how is not None
    proposer = None
    if how.vision is not None:
        from xpert.summarizing.vision import VisionModel

        proposer = VisionModel(how.vision, device=device)
    return ClipSummarizer(setup.summarizer, how.captions, how.vocabulary or None, proposer, device=device)


def open_picture_explainer(pool: Pool | Path | str, *, device: str = "auto") -> PictureExplainer:
    """Everything that explains in the space of a pool of image models, which may be given by its folder.

    Raises:
        PoolError: the pool has no space yet.
        MissingModelError: a model that its setup names is not here.
        MismatchError, SpaceError: what is here is not what the space was built with.
        SettingsError: it is a pool of language models.
    """
    space, setup = _read(pool)
    return PictureExplainer(load_picture_prober(setup, device=device), load_clip(setup, device=device), space)


def open_adapter_explainer(pool: Pool, *, device: str = "auto") -> Explainer | PictureExplainer:
    """What explains adapters in the space of a pool, of language or of image models; raises as those two do."""
    if pool.setup.pictures is not None:
        return open_picture_explainer(pool, device=device)
    return open_explainer(pool, device=device)


def rebuild(pool: Pool, setup: PoolSetup, *, device: str = "auto", on_progress: Progress | None = None) -> BuiltSpace:
    """Build a new space over all pLLMs of a pool, explain each in it, then take both in place of the old ones.

    The pool stays as it was until everything is explained, and changes at once; see `xpert.pool.spaces`. A pLLM that
    another process adds meanwhile is explained in the new space, too, and told of as a newcomer.

    Raises:
        PoolError: the pool is read only, or empty: there is nothing to take words from.
        StorageError: files of a pLLM are missing or damaged; found before anything is built.
    """
    records, _ = pool.intact()
    if not records:
        orphans = len(pool.orphans())
        more = f"; its folder holds {orphans} without a row, which `xpert pool restore` brings back" if orphans else ""
        raise PoolError(f"the pool is empty: add adapters before its space can be built{more}")
    adapters = {record.name: pool.artifacts.path(record.adapter) for record in records}
    built, explain = _build(setup, adapters, device, on_progress)
    explained = {
        record.adapter: explain_embeddings(built.embeddings[record.name], built.space, prompts=built.space.prompts)
        for record in records
    }
    measured = built.calibration.cosine_held_out if built.calibration else None
    setup, newcomers = setup.model_copy(update={"fast_path_cosine": measured}), []
    while waiting := pool.change_space(built.space, setup, explained):
        for record in waiting:
            explanation = explain_if_there(record, pool.catalog, pool.artifacts, explain)
            if explanation is not None:
                explained[record.adapter] = explanation
                newcomers.append(record.name)
    return replace(built, newcomers=tuple(newcomers))


def _build(
    setup: PoolSetup, adapters: Mapping[str, Path], device: str, on_progress: Progress | None
) -> tuple[BuiltSpace, Callable[[Path], Explanation]]:
    """A space over adapters, by texts or by pictures, and what explains others in it."""
    if setup.pictures is not None:
        painter, clip = load_picture_prober(setup, device=device), load_clip(setup, device=device)
        try:
            built = build_space(painter, clip, adapters, most_words=MOST_WORDS_PICTURES, on_progress=on_progress)
        finally:
            if clip.proposer is not None:
                clip.proposer.close()
        return built, AdapterExplainer(painter, clip, built.space).explain_adapter
    prober, summarizer = load_prober(setup, device=device), load_summarizer(setup, device=device)
    rewriter: Rewriter = StyleTurns(prober.base, prober.settings, setup.contrasts)
    if setup.rewriter == "summarizer" and isinstance(summarizer, LanguageSummarizer):
        rewriter = InstructRewriter(summarizer.loaded)
    built = build_space(prober, summarizer, adapters, rewriter, exact_words=setup.exact_words, on_progress=on_progress)
    return built, AdapterExplainer(prober, summarizer, built.space).explain_adapter
