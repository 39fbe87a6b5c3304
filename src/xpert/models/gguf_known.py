"""Which GGUF files are read: those that transformers makes the same model of. Knows headers; reads no tensor."""

from __future__ import annotations

from typing import Any

from xpert.errors import DamagedModelError, MissingModelError, ModelError
from xpert.models.gguf_header import GgufFacts
from xpert.models.sizes import MOST_LAYERS
from xpert.printing import printable

DIGITS_APART = frozenset("smollm starcoder refact command-r codeshell exaone minerva-7b".split())
"""Ways of splitting texts (tokenizer.ggml.pre) that are GPT-2's after every digit was set apart."""
_AS_GPT2 = frozenset("gpt-2 gpt2 phi-2 mpt olmo roberta-bpe default".split())
_CHANGING = ("rope.scaling.type", "attention.scale", "embedding_scale", "residual_scale", "logit_scale")
"""Settings that change every answer, and that transformers reads for some architectures only."""


def check_known(facts: GgufFacts) -> None:
    """Refuse what is not read here, before any work.

    Raises:
        MissingModelError: a package is not installed, or too old.
        ModelError: one of several parts, or an architecture, or a way of splitting texts, that is not known.
        DamagedModelError: sizes that cannot be those of its tensors.
    """
    try:
        from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
        from transformers.integrations.gguf.gguf_config_mapping import GGUF_CONFIG_ARCHS
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    except ImportError as error:
        raise MissingModelError(
            "GGUF files are read with transformers 5.24 or newer: `pip install -U transformers`"
        ) from error
    path, arch = facts.path, facts.architecture
    if int(facts.settings.get("split.count", 1) or 1) > 1:
        raise ModelError(
            f"{path} is one part of several: join them with `llama-gguf-split --merge`, and give the whole"
        )
    mapping: dict[str, Any] = GGUF_CONFIG_MAPPING
    legacy = mapping.get(arch.replace("qwen2moe", "qwen2_moe").replace("qwen3moe", "qwen3_moe"))
    if legacy is None and arch not in GGUF_CONFIG_ARCHS and arch != "gpt-oss":
        raise ModelError(
            f"{path} holds a model of architecture {printable(arch, 60)!r}, which transformers does not read from GGUF "
            "files: give the original in safetensors"
        )
    for key in _CHANGING:
        value = facts.of_model(key)
        if value not in (None, "none", 0, 1) and legacy is not None and key not in legacy and arch != "gpt-oss":
            raise ModelError(
                f"{path} sets {arch}.{key} to {printable(str(value), 40)!r}, which transformers leaves out when it "
                "reads GGUF files, so that it would be another model: give the original in safetensors"
            )
    split = facts.settings.get("tokenizer.ggml.pre")
    known: set[Any] = {None} | GGUF_PRE_TOKENIZER_SPLITS.keys() | DIGITS_APART | _AS_GPT2
    if facts.settings.get("tokenizer.ggml.model") == "gpt2" and split not in known:
        raise ModelError(
            f"{path} splits texts in a way ({printable(str(split), 60)!r}) that transformers does not know: the same "
            "text would become other tokens; give the original in safetensors"
        )
    layers = facts.of_model("block_count")
    if type(layers) is not int or not 0 < layers <= min(MOST_LAYERS, len(facts.tensors)):
        raise DamagedModelError(
            f"{path} gives {printable(str(layers), 40)} blocks, and holds {len(facts.tensors)} tensors: download it "
            "again"
        )
