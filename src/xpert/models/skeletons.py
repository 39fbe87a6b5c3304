"""A language model without its weights, built from a configuration that was seen to fit its files.

Knows transformers; reads no weights and runs no code that comes with a model.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from xpert.errors import DamagedModelError, XpertError
from xpert.models.headers import strict_json
from xpert.models.lora_settings import read_capped
from xpert.models.reference import model_digest
from xpert.models.sizes import check_sizes, check_tables, check_total
from xpert.models.token_tables import read_config
from xpert.printing import printable


def skeleton(folder: Path) -> Any:
    """The model of a folder on torch's meta device, which holds shapes and no numbers; remembered by its digest.

    Raises:
        MissingModelError: the folder lacks files.
        DamagedModelError: no model can be built from its configuration, one that reads one text and writes another, or
            one of far more numbers than its files hold.
    """
    return _skeleton(folder.resolve(), model_digest(folder))


@lru_cache(maxsize=4)
def _skeleton(folder: Path, digest: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    file = folder / "config.json"
    try:
        stated = strict_json(read_capped(file), str(file))
        stored = check_sizes(folder, stated)
        config = read_config(folder)
        if config.is_encoder_decoder:
            raise DamagedModelError(
                f"{folder} is an encoder-decoder model (type {printable(str(config.model_type), 40)!r}), and only "
                "models that continue a text are tuned here: give a causal language model"
            )
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, trust_remote_code=False
            )
    except XpertError:
        raise
    except Exception as error:  # each class of configuration breaks in its own way: ZeroDivisionError, IndexError, ...
        raise DamagedModelError(
            f"no language model can be built from {folder}/config.json ({type(error).__name__}: "
            f"{printable(' '.join(str(error).split()), 300)}): give the folder of a causal language model that "
            "transformers knows"
        ) from error
    if stored is not None:
        check_total(folder, sum(p.numel() for p in model.parameters()), stored, "quantization_config" in stated)
        check_tables(folder, sum(table.numel() for table in model.buffers()), stored)
    return model
