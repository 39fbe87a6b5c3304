"""Which base an adapter is put on, where the command line does not say: never one that only its author names.

Knows names, digests and the person at the terminal; nothing is fetched before they agreed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from xpert.cli.sources import PACKAGED_BASE, base_of, reading
from xpert.embedded import EMBEDDED_MODELS, EMBEDDED_PIPELINES
from xpert.errors import SettingsError
from xpert.printing import printable_name

if TYPE_CHECKING:
    from xpert.models.reference import ModelReference


def base_for(adapter: Path, base: str | None, pool: Path | None = None, *, ask: bool = True) -> ModelReference:
    """The base of a language model's adapter.

    That is the given one; else the one whose digest stands on the adapter's card, where it comes with the package or
    was used on this machine; else the one that the adapter names, where it comes with the package, is the given
    pool's, or is a folder on this machine that does not contradict the card. Any other name is a stranger's choice.

    Args:
        adapter: its folder.
        base: as it was given.
        pool: as it was given.
        ask: whether a person at the terminal may be asked.

    Raises:
        SettingsError: the adapter names a base that nobody chose.
        MissingModelError, DamagedModelError: the adapter cannot be read.
    """
    from xpert.models.adapters import inspect_adapter
    from xpert.models.reference import ModelReference

    if base is not None:
        return ModelReference(base)
    facts = inspect_adapter(adapter)
    found = _chosen(facts.base_digest, facts.base_name, pool)
    if found is not None:
        return found
    return ModelReference(agreed(adapter, facts.base_name, ask=ask) if facts.base_name else PACKAGED_BASE)


def image_base_for(
    adapter: Path, base: str | None, pool: Path | None = None, *, ask: bool = True
) -> ModelReference | None:
    """The pipeline of an image adapter, found as `base_for` finds a base; None where nothing says."""
    from xpert.cli.image_sources import carded_base
    from xpert.models.image_adapters import inspect_image_adapter
    from xpert.models.reference import ModelReference

    if base is not None:
        return ModelReference(base)
    digest, named = inspect_image_adapter(adapter).base_digest, carded_base(adapter)
    if (found := _chosen(digest, named or "", pool)) is not None:
        return found
    return ModelReference(agreed(adapter, named, ask=ask)) if named else None


def merge_base_for(folder: Path) -> ModelReference | None:
    """The base of a model that is to be merged; None where a whole model does not say."""
    from xpert.models.known_bases import known_base
    from xpert.models.whole_models import inspect_whole_model, is_whole_model

    if is_whole_model(folder):
        return known_base(inspect_whole_model(folder).base_digest)
    return base_for(folder, None)


def _chosen(digest: str | None, name: str, pool: Path | None) -> ModelReference | None:
    """What needs no question."""
    from xpert.models.known_bases import known_base
    from xpert.models.model_stores import SMOLLM2, packaged_smollm2
    from xpert.models.reference import ModelReference, is_local_model, model_digest, resolve_folder

    if (known := known_base(digest)) is not None:
        return known
    if name in EMBEDDED_MODELS or name in EMBEDDED_PIPELINES:
        return ModelReference(name)
    if pool is not None and name:
        with reading(pool) as opened:
            own = base_of(opened)
        if own is not None and own.model == name:
            return own
    here = is_local_model(name) or (name == SMOLLM2 and packaged_smollm2() is not None)
    if here and (digest is None or model_digest(resolve_folder(name)) == digest):
        return ModelReference(name)
    return None


def agreed(adapter: Path, name: str, *, ask: bool) -> str:
    """The base that an adapter names, after a person at the terminal agreed to it.

    Raises:
        SettingsError: they did not, or there is nobody to ask.
    """
    shown = printable_name(name)
    if ask and sys.stdin.isatty() and sys.stderr.isatty():
        import typer

        print(f"{printable_name(adapter)} says that it belongs to {shown}, which you did not name.", file=sys.stderr)
        if typer.confirm("Use that base, from the hub where it is not here?", default=False, err=True):
            return name
    raise SettingsError(
        f"adapter {printable_name(adapter)} says that it belongs to base {shown}, and only you choose what is opened "
        f"or fetched: give --base {shown} if you trust it, or the base that you have"
    )
