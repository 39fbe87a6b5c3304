"""What a decoder is, as far as a graph must know it; and which ones can be written as a graph.

Knows configurations of transformers; never sees weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpert.errors import ModelError

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""`model_type`s whose blocks are RMSNorm, rotary attention and a gated layer; SmolLM and SmolLM2 are Llamas."""

_ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Rotary positions whose angles do not depend on the length of the text."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of a decoder.

    Attributes:
        family: its `model_type`.
        blocks: how many blocks it has.
        width: d, numbers of a hidden state.
        heads: heads of queries.
        pairs: heads of keys and values.
        head_width: e, numbers of a head.
        gate_width: f, numbers inside the gated layer.
        vocabulary: tokens.
        epsilon: of RMSNorm.
        positions: tokens that it reads at most.
        tied: whether the output layer is the embedding table.
        head_norms: whether queries and keys are normalised head by head.
    """

    family: str
    blocks: int
    width: int
    heads: int
    pairs: int
    head_width: int
    gate_width: int
    vocabulary: int
    epsilon: float
    positions: int
    tied: bool
    head_norms: bool


def read_architecture(config: Any) -> Architecture:
    """The sizes in a configuration of transformers.

    Raises:
        ModelError: a family or a part of one that no graph is written for; the text names it.
    """
    family = str(config.model_type)
    if family not in FAMILIES:
        raise ModelError(
            f"models of family {family!r} cannot be exported; these can: {', '.join(FAMILIES)} (SmolLM is a llama): "
            "take a base of one of them"
        )
    _check_parts(config, family)
    return Architecture(
        family=family,
        blocks=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        pairs=config.num_key_value_heads,
        head_width=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        gate_width=config.intermediate_size,
        vocabulary=config.vocab_size,
        epsilon=config.rms_norm_eps,
        positions=config.max_position_embeddings,
        tied=bool(config.tie_word_embeddings),
        head_norms=family == "qwen3",
    )


def _check_parts(config: Any, family: str) -> None:
    """Refuse what would be computed otherwise than transformers does."""
    rope = getattr(config, "rope_parameters", None) or {}
    window = getattr(config, "sliding_window", None)
    if hasattr(config, "use_sliding_window") and not config.use_sliding_window:
        window = None
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    faults = []
    if config.hidden_act not in ("silu", "swish"):
        faults.append(f"hidden_act {config.hidden_act!r} (only silu)")
    if rope.get("rope_type", "default") not in _ROTATIONS:
        faults.append(f"rope_type {rope['rope_type']!r} (only {', '.join(_ROTATIONS)})")
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        faults.append(f"partial_rotary_factor {rope['partial_rotary_factor']} (only 1)")
    if window is not None or kinds != {"full_attention"}:
        faults.append(f"a sliding window of {window} tokens (only full attention)")
    if faults:
        raise ModelError(f"this {family} cannot be exported: it has {'; '.join(faults)}: take another base")
