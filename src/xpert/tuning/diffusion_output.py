"""What a run on pictures leaves behind: a whole pipeline, or LoRA weights, with a card; whole or not there.

Knows files, diffusers and peft; never sees pictures or steps.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xpert.models.cards import write_card
from xpert.models.folders import whole_folder
from xpert.models.headers import strict_json
from xpert.models.image_adapters import LORA_WEIGHTS, image_adapter_digest
from xpert.models.pipelines import INDEX, parts_of, pipeline_class, read_index

_OTHER_FORMATS = ("*.bin", "*.ckpt", "*.pt", "*.msgpack", "*.onnx", "*.h5", "*.fp16.*", "*non_ema*", "*ema_only*")
_ONE_FILE = "1TB"
_SCHEDULER = "scheduler/scheduler_config.json"


def write_pipeline(base: Path, unet: Any, folder: Path, prediction_type: str | None) -> None:
    """Write a pipeline: the base's own files, and the U-Net in place of its.

    Args:
        base: folder of the base pipeline.
        unet: in fp32.
        folder: where to; missing or empty.
        prediction_type: what the U-Net was trained to predict, where it differs from what the base says.

    Raises:
        DamagedModelError: the base's index names parts that are not known.
    """
    index = {key: value for key, value in read_index(base).items() if key != "_name_or_path"}  # a path names its owner
    for part in parts_of(index):
        if part == "unet":
            continue
        if (base / part).is_dir():
            shutil.copytree(base / part, folder / part, ignore=shutil.ignore_patterns(*_OTHER_FORMATS))
        else:
            index[part] = [None, None]
    if index.get("safety_checker", [None])[0] is None and "safety_checker" in index:
        index["requires_safety_checker"] = False
    unet.register_to_config(_name_or_path="")
    unet.save_pretrained(str(folder / "unet"), max_shard_size=_ONE_FILE)
    _write_json(folder / INDEX, index)
    if prediction_type is not None:
        stated = strict_json((folder / _SCHEDULER).read_bytes(), str(folder / _SCHEDULER))
        _write_json(folder / _SCHEDULER, stated | {"prediction_type": prediction_type})


def write_lora(base: Path, unet: Any, folder: Path) -> None:
    """Write the LoRA matrices of a U-Net in fp32, with rank, alpha and layers in the file's metadata."""
    from peft.utils import get_peft_model_state_dict

    (name,) = unet.peft_config
    config = unet.peft_config[name]
    facts = {
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "rank_pattern": dict(config.rank_pattern),
        "alpha_pattern": dict(config.alpha_pattern),
        "target_modules": sorted(config.target_modules),
        "lora_dropout": float(config.lora_dropout),
        "bias": "none",
    }
    pipeline_class(base).save_lora_weights(
        str(folder),
        unet_lora_layers=get_peft_model_state_dict(unet, adapter_name=name, save_embedding_layers=False),
        weight_name=LORA_WEIGHTS,
        unet_lora_adapter_metadata=facts,
    )


def publish_folder(out: Path, write: Callable[[Path], None], card: str, validation: Path) -> None:
    """Write under another name in the same folder, then rename to `out`.

    Args:
        out: must be free.
        write: fills the folder that it is given.
        card: text of README.md.
        validation: pictures that are taken along, where there are any.

    Raises:
        SettingsError: `out` is taken.
        StorageError: the disk refused; nothing is left.
    """
    with whole_folder(out) as fresh:
        write(fresh)
        if validation.is_dir():
            shutil.copytree(validation, fresh / validation.name, ignore=shutil.ignore_patterns(".*"))
        write_card(fresh, card, image_adapter_digest(fresh))


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
