"""Diffusers pipelines on disk: where they lie, what they are, and how they are read.

Knows diffusers; never sees personal data. Only Stable Diffusion 1.x, 2.x and XL are opened: text-to-image pipelines
whose denoiser is a U-Net. Weights are read from safetensors only, and no code that comes with a model is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpert.embedded import EMBEDDED_PIPELINES
from xpert.errors import DamagedModelError, MissingModelError, ModelError
from xpert.models.base_files import refuse_adapter
from xpert.models.headers import strict_json
from xpert.models.lora_settings import read_capped
from xpert.models.reference import folder_digest, has_weights, hub_snapshot
from xpert.models.remote_code import refuse_code
from xpert.models.sizes import check_sizes

if TYPE_CHECKING:
    import torch

INDEX = "model_index.json"
PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
_UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
_KNOWN = (*_PARTS, "tokenizer", "tokenizer_2", "scheduler", *_UNUSED)
_LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
_COUNTED = (
    *(f"{part}/{name}" for part in _PARTS for name in ("config.json", "*.safetensors", "*.safetensors.index.json")),
    *(
        f"{part}/{name}"
        for part in ("tokenizer", "tokenizer_2")
        for name in ("vocab.json", "merges.txt", "tokenizer.json")
    ),
    "scheduler/scheduler_config.json",
)
_OTHER_WEIGHTS = (".fp16.", "non_ema", "ema_only")
_WANTED = ["*.json", "*.txt", "*.safetensors", "*.model"]
_UNWANTED = ["*.fp16.*", "*non_ema*", "*ema_only*", "safety_checker/*", "v1-*", "v2-*", "sd_xl*", "*_pruned*"]


def is_pipeline(folder: Path) -> bool:
    """Whether a folder holds a whole pipeline."""
    return (folder / INDEX).is_file()


def resolve_pipeline(model: str, revision: str | None = None) -> Path:
    """The local folder of a pipeline: the folder itself, or the hub's snapshot in the local cache.

    Raises:
        MissingModelError: no such folder, no pipeline in it, or the hub does not give it.
        DamagedModelError: not a pipeline that is known here, such as one without a U-Net.
    """
    folder = EMBEDDED_PIPELINES.get(model, Path(model).expanduser())
    if folder.is_dir():
        if not is_pipeline(folder):
            raise MissingModelError(
                f"{folder} holds no {INDEX}: it is no diffusers pipeline; give the folder that `save_pretrained` wrote"
            )
        folder = folder.resolve()
    elif model in EMBEDDED_PIPELINES:
        raise MissingModelError(f"{model} comes with the package, but {folder} is not there: install xpert again")
    elif folder.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise MissingModelError(
            f"no pipeline folder {folder}: check the path, or give a Hugging Face name of a Stable Diffusion pipeline"
        )
    else:
        folder = hub_snapshot(model, revision, _WANTED, _whole, _UNWANTED)
    check_pipeline(folder)
    return folder


def _whole(folder: Path) -> bool:
    """Whether a snapshot holds every part that is used: another program may have fetched single files."""
    try:
        parts = [part for part in parts_of(read_index(folder)) if part not in _UNUSED]
    except ModelError:
        return False
    return all((folder / part).is_dir() for part in parts) and all(
        has_weights(folder / part, _OTHER_WEIGHTS) for part in parts if part in _PARTS
    )


def read_index(folder: Path) -> dict[str, Any]:
    """What a pipeline's index says; its keys name folders and its values classes, so both are checked.

    Raises:
        MissingModelError: there is no index.
        DamagedModelError: it cannot be read, names a part that is not known, or a class from elsewhere.
    """
    file = folder / INDEX
    if not file.is_file():
        raise MissingModelError(f"{folder} holds no {INDEX}: it is no diffusers pipeline")
    index = strict_json(file.read_bytes(), str(file))
    for key, value in index.items():
        if key in _KNOWN:
            _check_part(file, key, value)
        elif isinstance(value, list | dict) and key != "_class_name":
            raise DamagedModelError(
                f"{file} names {key[:100]!r}, which is no part that is known; known are {', '.join(_KNOWN)}: give a "
                "pipeline of these parts only, as `save_pretrained` of Stable Diffusion writes it"
            )
    return index


def _check_part(file: Path, key: str, value: object) -> None:
    """See that a part is [library, class] of a library that may be imported, or [null, null]."""
    if value == [None, None]:
        return
    if isinstance(value, list) and len(value) == 2 and all(isinstance(word, str) for word in value):
        library, name = value
        if library in _LIBRARIES and name.isidentifier():
            return
    raise DamagedModelError(
        f"{file} says that {key} is {str(value)[:100]}; a class of {', '.join(_LIBRARIES)} or [null, null] is needed, "
        "since other code is not run: download or save the pipeline again"
    )


def parts_of(index: dict[str, Any]) -> list[str]:
    """The parts that a checked index has, each a folder of its own."""
    return [key for key in index if key in _KNOWN and index[key] != [None, None]]


def check_pipeline(folder: Path) -> str:
    """The class of a pipeline, refused before any weight is read where it cannot be used.

    Raises:
        MissingModelError: a part of it is missing.
        DamagedModelError: its index cannot be read, or it is of another kind: without a U-Net, with code of its own.
    """
    file = folder / INDEX
    if not file.is_file():
        raise MissingModelError(f"{folder} holds no {INDEX}: it is no diffusers pipeline")
    index = strict_json(file.read_bytes(), str(file))
    name, without = index.get("_class_name"), ""
    if index.get("unet") in (None, [None, None]):
        without = " without a U-Net"
    if without or name not in PIPELINES:
        parts = ", ".join(sorted(key for key in index if not key.startswith("_")))
        raise DamagedModelError(
            f"{folder} is a {name}{without} (parts: {parts}); known are {' and '.join(PIPELINES)}: give a Stable "
            "Diffusion 1.x, 2.x or XL pipeline"
        )
    for part in parts_of(read_index(folder)):
        refuse_code(folder / part)
        refuse_adapter(folder / part)
        _check_shards(folder / part)
    for part in ("unet", "vae", "text_encoder"):
        if not any((folder / part).glob("*.safetensors")):
            raise MissingModelError(
                f"{folder / part} holds no .safetensors file: convert the pipeline with "
                "`save_pretrained(..., safe_serialization=True)` (pickled weights are refused)"
            )
    for part in _PARTS:
        if (folder / part / "config.json").is_file():
            check_sizes(folder / part)
    return str(name)


def _check_shards(part: Path) -> None:
    """Refuse an index of shards that names files elsewhere.

    Raises:
        DamagedModelError: it does, or it is none.
    """
    for index in part.glob("*.safetensors.index.json"):
        where = strict_json(read_capped(index), str(index)).get("weight_map")
        names = set(map(str, where.values())) if isinstance(where, dict) else {""}
        if not all(Path(name).name == name and name.endswith(".safetensors") for name in names):
            raise DamagedModelError(
                f"{index} has no weight_map from tensors to files beside it: download or save the pipeline again"
            )


def pipeline_digest(folder: Path) -> str:
    """SHA-256 over what a pipeline paints with: weights and configurations of its parts, vocabularies, scheduler.

    Files that other programs leave in the folder, such as a safety checker or weights in half precision, do not count.
    """
    return folder_digest(folder, _COUNTED, _OTHER_WEIGHTS)


def pipeline_class(folder: Path) -> Any:
    """The diffusers class of a checked pipeline folder."""
    import diffusers

    return getattr(diffusers, check_pipeline(folder))


def read_pipeline(folder: Path, dtype: torch.dtype, **parts: Any) -> Any:
    """Load a pipeline from its folder; `parts` replace those of the folder, such as `unet=...`.

    Raises:
        DamagedModelError: its files cannot be read.
    """
    unused: dict[str, Any] = dict.fromkeys(set(read_index(folder)) & set(_UNUSED))
    if "safety_checker" in unused:
        unused["requires_safety_checker"] = False
    try:
        pipeline = pipeline_class(folder).from_pretrained(
            str(folder),
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **{**unused, **parts},
        )
    except Exception as error:  # damage shows as many things: SafetensorError, RuntimeError on shapes, OSError
        raise DamagedModelError(f"pipeline {folder} cannot be read ({error}): download or save it again") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
