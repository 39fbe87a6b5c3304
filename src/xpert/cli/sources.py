"""What a name on the command line stands for: a pool, a person's data, an adapter.

Knows folders and names; loads no model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xpert.embedded import (
    EMBEDDED_CLIPS,
    EMBEDDED_MODELS,
    EMBEDDED_PIPELINES,
    EMBEDDED_POOL,
    PEOPLE,
)
from xpert.errors import MismatchError, SettingsError

if TYPE_CHECKING:
    from xpert.models.reference import ModelReference
    from xpert.pool import Pool
    from xpert.records import Sample
    from xpert.space.basis import Space

Kind = Literal["adapter", "person", "pool"]
Progress = Callable[[str, int, int], None]
_ADAPTER_MARK = "adapter_config.json"
_MOST_NAME = 200  # bytes: disks take 255, and what is unfinished has a longer name
PACKAGED_BASE = "xpert/base"


def pool_folder(pool: Path | None) -> Path:
    """The folder of a pool: the given one, or the pool of the package."""
    return EMBEDDED_POOL if pool is None else pool.expanduser()


def reading(pool: Path | None) -> Pool:
    """A pool to be read, wherever it lies.

    Raises:
        PoolError: there is none.
    """
    from xpert.pool import open_pool

    return open_pool(pool_folder(pool), create=False, read_only=True)


def writing(pool: Path | None) -> Pool:
    """A pool to be changed.

    Raises:
        PoolError: there is none, or it is the one inside the package.
    """
    from xpert.cli.own_pools import owned_folder
    from xpert.pool import open_pool

    return open_pool(owned_folder(pool), create=False)


def person_samples(data: str, columns: Mapping[str, Any]) -> list[Sample]:
    """Personal data from a file, a folder, a dataset, or of a sample person.

    Raises:
        SettingsError: no such sample person.
        DataError: it cannot be read.
    """
    from xpert.data import read_samples, sample_person

    if not data.startswith("@"):
        return read_samples(data, **columns)
    return read_samples(PEOPLE / f"{sample_person(data[1:], mark='@')}.jsonl")


def adapter_folder(folder: Path) -> Path:
    """An adapter folder that was named as one.

    Raises:
        SettingsError: it is none.
    """
    from xpert.cli.converting import opened_adapter
    from xpert.models.foreign_adapters import refuse_foreign
    from xpert.models.image_adapters import is_image_adapter

    folder = opened_adapter(folder)
    refuse_foreign(folder)
    if not (folder / _ADAPTER_MARK).is_file() and not is_image_adapter(folder):
        raise SettingsError(
            f"{folder} is no adapter folder, it holds no {_ADAPTER_MARK} and no LoRA or U-Net of a pipeline: give one "
            "that peft or diffusers wrote"
        )
    return folder


def base_folder(base: ModelReference, adapter: Path) -> Path:
    """The folder of a base: a pipeline where the adapter is one of a pipeline, else a language model.

    Raises:
        MissingModelError, DamagedModelError: there is no such base, or it is of the wrong kind.
    """
    from xpert.models.image_adapters import is_image_adapter
    from xpert.models.pipelines import resolve_pipeline
    from xpert.models.reference import resolve_folder

    resolve = resolve_pipeline if is_image_adapter(adapter) else resolve_folder
    return resolve(base.model, base.revision)


def kind_of(target: str, pool: Path | None, columns: Mapping[str, Any]) -> Kind:
    """Whether a target is an adapter folder, personal data or a pLLM of the pool; what lies on the disk comes first.

    Raises:
        SettingsError: it is none of them.
        PoolError: it is not on the disk, and there is no pool to look it up in.
    """
    from xpert.models.image_adapters import is_image_adapter

    path = Path(target).expanduser()
    if path.suffix == ".safetensors" and path.is_file():
        raise SettingsError(f"{target} is a model in one file: a LoRA of images is for `xpert image explain {target}`")
    if is_image_adapter(path) and columns["format"] == "auto":
        raise SettingsError(f"{target} personalizes an image model: use `xpert image explain {target}`")
    whole = (path / "config.json").is_file() and any(path.glob("*.safetensors"))
    if (path / _ADAPTER_MARK).is_file() or whole:
        return "adapter"
    if target.startswith("@") or path.exists() or columns["format"] != "auto":
        return "person"
    with reading(pool) as opened:
        names = [record.name for record in opened.list()]
    if target in names:
        return "pool"
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    raise SettingsError(
        f"{target!r} is neither an adapter folder or data file here, nor in pool {pool_folder(pool)} "
        f"({shown or 'which is empty'}), nor a sample person such as @mia: check the spelling, or give another --pool"
    )


def page_target(path: Path | None) -> Path | None:
    """A page that is to be written, checked before the work that it shows.

    Raises:
        SettingsError: there is no such folder, or nothing may be written there.
    """
    if path is None:
        return None
    path = path.expanduser()
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise SettingsError(f"{path} cannot be written: give the name of a file in a folder that exists")
    return path


def lasting_name(model: str) -> str:
    """A model's name as a pool can keep it: paths of folders and GGUF files become absolute, other names stay."""
    from xpert.models.model_stores import SMOLLM2

    folder = Path(model).expanduser()
    packaged = {*EMBEDDED_MODELS, *EMBEDDED_PIPELINES, *EMBEDDED_CLIPS, SMOLLM2}
    return str(folder.resolve()) if model not in packaged and folder.exists() else model


def base_of(pool: Pool, name: str | None = None) -> ModelReference | None:
    """The base that a pool is for, in its revision: by its setup, else by the record of `name` or the first.

    None where nothing says.
    """
    from xpert.models.reference import ModelReference

    if pool.has_space:
        setup = pool.setup
        return ModelReference(setup.base, revision=setup.base_revision)
    records = [pool.get(name)] if name is not None else pool.list()[:1]
    return ModelReference(records[0].base_name) if records else None


def check_space_base(pool: Pool, base: str | None, adapter: Path) -> None:
    """Refuse an adapter of another base than that of a pool's space; no model is loaded or asked for.

    Raises:
        MismatchError: the adapter's card or `base` names another base.
        MissingModelError, DamagedModelError, PoolError: what is compared cannot be read.
    """
    from xpert.models.adapters import inspect_adapter
    from xpert.models.image_adapters import inspect_image_adapter, is_image_adapter
    from xpert.models.pipelines import pipeline_digest
    from xpert.models.reference import ModelReference, model_digest

    if not pool.has_space:
        return
    space, setup = pool.space_and_setup()
    known, wanted = setup.base, space.base
    pictures = is_image_adapter(adapter)
    if pictures:
        found, said = inspect_image_adapter(adapter).base_digest, ""
    else:
        facts = inspect_adapter(adapter)
        found, said = facts.base_digest, facts.base_name
    if found is None and base is not None:
        folder = base_folder(ModelReference(base), adapter)
        found = pipeline_digest(folder) if pictures else model_digest(folder)
    if found is not None and found != wanted:
        raise MismatchError(
            f"the space of pool {pool.folder} is for models of {known}, and {adapter} belongs to "
            f"{base or said or f'base {found[:12]}…'}: "
            "make a pool for that base with `xpert pool create FOLDER --like none`, add to it with --base, and "
            "explain it with `xpert pool reindex`"
        )


def wish_space(pool: Pool) -> Space:
    """The space of a pool of language models, without its models.

    Raises:
        PoolError: it has none yet.
        SettingsError: it is a pool of image models.
    """
    refuse_image_pool(pool)
    return pool.space


def refuse_image_pool(pool: Pool) -> None:
    """Refuse a pool of image models where language models are meant.

    Raises:
        SettingsError: it is one.
    """
    if pool.has_space and pool.setup.pictures is not None:
        raise SettingsError(
            f"{pool.folder} is a pool of image models: use `xpert image`, or give --pool of language models"
        )


def is_merge_parent(folder: Path) -> bool:
    """Whether a folder holds a LoRA adapter of a language model, or a whole one."""
    return any((folder / name).is_file() for name in (_ADAPTER_MARK, "config.json"))


def free_folder(out: Path) -> Path:
    """A folder that is to be written, checked before the work.

    Raises:
        SettingsError: it is taken, or it is where the command runs.
    """
    from xpert.models.folders import check_free

    place = out.expanduser().resolve()
    if len(os.fsencode(place.name)) > _MOST_NAME:
        raise SettingsError(f"--out has a name of {len(place.name)} characters, which disks cut: give a shorter one")
    if place == Path.cwd() or place in Path.cwd().parents:
        raise SettingsError(f"--out {out} is the folder that this runs in, or one around it: name a new folder")
    check_free(place)
    return Path(os.path.normpath(out.expanduser()))


def refuse_given(options: Mapping[str, object], why: str) -> None:
    """Refuse options that would do nothing; `why` says when, and ends with the way out.

    Raises:
        SettingsError: one of them was given.
    """
    given = ["--" + name.replace("_", "-") for name, value in options.items() if value is not None]
    if given:
        raise SettingsError(f"{' and '.join(given)} would do nothing: {why}")
