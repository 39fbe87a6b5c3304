"""What a GGUF file holds, written as a plain Hugging Face folder: configuration, weights as numbers, tokenizer.

Knows transformers and its reader of GGUF, which leaves out what it does not know without a word: that is refused here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xpert.errors import DamagedModelError, ModelError, XpertError
from xpert.models.gguf_header import GgufFacts
from xpert.models.gguf_known import DIGITS_APART
from xpert.models.preparing import bar_of_gguf, report
from xpert.models.sizes import StoredNumbers, check_sizes, check_total
from xpert.models.token_tables import fit_tokenizer, fresh_generation_config, repair_config
from xpert.printing import printable

_LINK = "model.gguf"
_STAGE = "dequantising the model"
_LABELS = ("id2label", "label2id", "problem_type", "chunk_size_feed_forward")
"""Settings of classifiers, which no language model reads."""


def write_plain(facts: GgufFacts, out: Path) -> None:
    """Write configuration, weights and tokenizer of a file whose header was read and found known.

    Weights are written as float32, or as 16-bit floats where every number is kept exactly.

    Raises:
        ModelError: it cannot be read whole.
        DamagedModelError: its settings, tensors and tokenizer do not belong together, or it holds NaN.
    """
    room = out / "source"
    room.mkdir()
    _link(facts.path, room / _LINK)
    try:
        with bar_of_gguf(_STAGE, len(facts.tensors)):
            config = _config(facts, room)
            model = _model(facts, room, config)
            tokenizer = _tokenizer(facts, room)
        fit_tokenizer(tokenizer, model.get_input_embeddings().weight.shape[0], model.generation_config, facts.path)
        _save(model, tokenizer, out)
    except (XpertError, OSError):
        raise  # of a disk, whoever writes the folder tells
    except Exception as error:  # each part of the reader breaks in its own way
        raise DamagedModelError(
            f"{facts.path} cannot be read as a language model ({type(error).__name__}: "
            f"{printable(' '.join(str(error).split()), 300)}): download it again, or give the original in safetensors"
        ) from error
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _link(file: Path, place: Path) -> None:
    """A room with this file alone: transformers opens whatever lies beside a model."""
    try:
        os.symlink(file.resolve(), place)
    except OSError:  # Windows, without the right to
        try:
            os.link(file, place)
        except OSError:
            shutil.copyfile(file, place)


def _config(facts: GgufFacts, room: Path) -> Any:
    """The configuration, its sizes seen to be those of the tensors."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(room, gguf_file=_LINK, trust_remote_code=False)
    stored = StoredNumbers(len(facts.tensors), facts.numbers, facts.path.stat().st_size)
    check_sizes(facts.path, json.loads(config.to_json_string()), stored)
    if config.is_encoder_decoder:
        raise ModelError(f"{facts.path} is an encoder-decoder model: give a causal language model")
    config.architectures = None
    config._name_or_path = ""
    repair_config(config)
    _restore_rope(facts, config)
    with torch.device("meta"):
        skeleton: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    check_total(facts.path, sum(p.numel() for p in skeleton.parameters()), stored, quantized=False)
    config.architectures = [type(skeleton).__name__]
    return config


def _restore_rope(facts: GgufFacts, config: Any) -> None:
    """The stretched positions of Llama 3.1 and newer, which a file holds as factors and transformers leaves out.

    Raises:
        ModelError: the factors are not those of that way.
    """
    if (entry := facts.tensors.get("rope_freqs.weight")) is None:
        return
    import numpy as np
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    factors = np.fromfile(facts.path, dtype="<f4", count=entry.numbers, offset=entry.start)
    if entry.kind == "F32" and np.all(factors == 1):
        return
    theta = config.rope_parameters["rope_theta"]
    plain = theta ** -(np.arange(0, 2 * factors.size, 2) / (2 * factors.size))
    config.rope_parameters = {
        "rope_type": "llama3",
        "rope_theta": theta,
        "factor": float(factors.max()),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    ours = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")[0].numpy()
    if entry.kind != "F32" or ours.shape != plain.shape or not np.allclose(ours, plain / factors, rtol=1e-3):
        raise ModelError(
            f"{facts.path} stretches positions in a way of its own (rope_freqs): give the original in safetensors"
        )


def _model(facts: GgufFacts, room: Path, config: Any) -> Any:
    """The model in float32, all numbers of the file in it."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    from xpert.models.loading import check_weights

    read: Any = AutoModelForCausalLM.from_pretrained(
        room,
        gguf_file=_LINK,
        config=config,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
        trust_remote_code=False,
        output_loading_info=True,
    )
    model, said = read
    check_weights(model, said["missing_keys"], facts.path)
    if said.get("mismatched_keys") or said.get("error_msgs"):
        raise DamagedModelError(f"{facts.path}: its tensors do not fit its own settings: download it again")
    placed = sum({id(t): t.numel() for t in model.state_dict(keep_vars=True).values()}.values())
    there = sum(tensor.numbers for name, tensor in facts.tensors.items() if not _is_spare(name, facts, config))
    if placed != there:
        raise ModelError(
            f"{facts.path} holds {there} numbers, and {placed} of them have a place in {type(model).__name__} of "
            "transformers: it would be another model; give the original in safetensors"
        )
    return model


def _is_spare(name: str, facts: GgufFacts, config: Any) -> bool:
    """Tensors that have no place of their own: positions, a tied output, blocks that predict further tokens."""
    block = name.split(".")[1] if name.startswith("blk.") else ""
    return (
        name == "rope_freqs.weight"
        or (name == "output.weight" and config.tie_word_embeddings)
        or (
            block.isdecimal()
            and int(block) >= config.num_hidden_layers
            and bool(facts.of_model("nextn_predict_layers"))
        )
    )


def _tokenizer(facts: GgufFacts, room: Path) -> Any:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(room, gguf_file=_LINK, padding_side="left", trust_remote_code=False)
    if facts.settings.get("tokenizer.ggml.pre") in DIGITS_APART:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return tokenizer


def _save(model: Any, tokenizer: Any, out: Path) -> None:
    """Write a model that was never quantised, with a configuration that is the same whoever writes it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    dtype = _smallest(model.parameters())
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = dtype
    with torch.device("meta"):
        fresh: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    fresh.load_state_dict(model.to(dtype).state_dict(), assign=True)
    fresh.tie_weights()
    fresh.generation_config = fresh_generation_config(out, config)
    fresh.generation_config.pad_token_id = model.generation_config.pad_token_id
    report("writing the model", 0, 1)
    fresh.save_pretrained(out, max_shard_size="5GB")
    tokenizer.save_pretrained(out)
    (out / "config.json").write_text(json.dumps(_stated(config, fresh), indent=2, sort_keys=True) + "\n", "utf-8")
    reread = AutoConfig.from_pretrained(out, trust_remote_code=False).to_dict()
    wanted = {key: value for key, value in config.to_dict().items() if not key.startswith("_")}
    if differing := sorted(key for key, value in wanted.items() if key in reread and reread[key] != value):
        raise ModelError(f"the settings {differing} of this model are not kept when they are written: please report it")
    report("writing the model", 1, 1)


def _stated(config: Any, model: Any) -> dict[str, Any]:
    """What config.json says: numbers, and what is not the default, so that it is the same from newer versions."""
    usual, whole = type(config)().to_dict(), json.loads(config.to_json_string(use_diff=False))
    kept = {
        key: value
        for key, value in whole.items()
        if not key.startswith("_")
        and key != "transformers_version"
        and ((isinstance(value, int | float | dict) and type(value) is not bool) or value != usual.get(key))
    }
    return {key: value for key, value in kept.items() if key not in _LABELS} | {
        "architectures": [type(model).__name__],
        "dtype": str(config.dtype).split(".")[-1],
        "model_type": config.model_type,
    }


def _smallest(parameters: Iterable[Any]) -> Any:
    """The smallest type of floats that keeps every number exactly."""
    import torch

    kept = list(parameters)
    for dtype in (torch.bfloat16, torch.float16):
        if all(bool((p.to(dtype).to(torch.float32) == p).all()) for p in kept):
            return dtype
    return torch.float32
