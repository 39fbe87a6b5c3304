"""What `xpert pool reindex` needs to know of pools of language models: what its options change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from xpert.cli.sources import base_of, lasting_name
from xpert.errors import SettingsError

if TYPE_CHECKING:
    from xpert.pool import Pool
    from xpert.pool.setup import PoolSetup


def text_setup(
    pool: Pool,
    base: str | None,
    summarizer: str | None,
    encoder: str | None,
    rewriter: Literal["base", "summarizer"] | None,
    exact_words: int | None,
) -> PoolSetup:
    """The setup of a pool with what the options of `xpert pool reindex` change; all else stays.

    Raises:
        SettingsError: a pool without a space, and no base or reader of texts; or options that do not go together.
    """
    from xpert.pool.setup import PoolSetup

    if summarizer is not None and encoder is not None:
        raise SettingsError("--summarizer and --encoder name two readers of texts: give one of them")
    named = base_of(pool)
    known: dict[str, Any] = {"base": named.model if named else None}
    if pool.has_space:
        known = pool.setup.model_dump()
    if base is not None:
        known |= {"base": lasting_name(base), "base_revision": None}
    if summarizer is not None:
        known |= {"summarizer_kind": "language", "summarizer": lasting_name(summarizer)}
    if encoder is not None:
        kept = encoder if encoder == "packaged" else lasting_name(encoder)
        known |= {"summarizer_kind": "encoder", "summarizer": kept, "rewriter": "base"}
    if rewriter is not None:
        known["rewriter"] = rewriter
    if exact_words is not None:
        known["exact_words"] = exact_words
    if known.get("base") is None or "summarizer" not in known:
        raise SettingsError("this pool has no space yet: give --base MODEL, and --summarizer MODEL or --encoder FOLDER")
    if known["summarizer_kind"] == "encoder" and known.get("rewriter") == "summarizer":
        raise SettingsError("a sentence encoder cannot rewrite texts: give --rewriter base")
    return PoolSetup(**known)
