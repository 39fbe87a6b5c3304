"""The three graphs of a base with LoRA: one training step, the loss, the next token.

Knows names and shapes of inputs and outputs; the arithmetic is in `decoder`, `layers` and `objective`.

Legend: b sequences, s tokens of each, m labelled tokens, P parameters of the adapter, v vocabulary, k heads of keys and
values, p tokens in the cache, t = p + s, e width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from xpert.export.architecture import Architecture
from xpert.export.decoder import Cache, Decoder
from xpert.export.frozen import Frozen
from xpert.export.layers import Lora
from xpert.export.objective import Head, Scalars, adamw, likelihood
from xpert.export.tape import Tape

_FLOAT, _WHOLE = TensorProto.FLOAT, TensorProto.INT64


@dataclass(frozen=True, slots=True)
class AdaptedLayer:
    """One layer with an adapter.

    Attributes:
        name: of the layer in the base.
        a: name of A in the adapter's file.
        b: name of B.
        scale: what B A is multiplied with.
    """

    name: str
    a: str
    b: str
    scale: float


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything that the graphs are written from.

    Attributes:
        architecture: of the base.
        frozen: its weights.
        layers: those with an adapter.
        parameters: tensors of the adapter, name -> shape, in the order of the long vector.
        facts: texts that every graph carries along.
    """

    architecture: Architecture
    frozen: Frozen
    layers: Sequence[AdaptedLayer]
    parameters: Mapping[str, tuple[int, ...]]
    facts: Mapping[str, str]

    @property
    def size(self) -> int:
        """P, numbers of the adapter."""
        return sum(math.prod(shape) for shape in self.parameters.values())


def training_graph(of: Blueprint, *, recompute: bool = False) -> onnx.ModelProto:
    """One step: loss, gradient added to what was accumulated, and AdamW on their sum.

    A caller that accumulates takes `gradient` from all micro-batches but the last, and everything from the last.

    Args:
        of: what to write it from.
        recompute: compute each block again for its gradients, rather than keep what it computed: less memory, more
            time, the same numbers.
    """
    tape = Tape()
    adapter, parts = _adapter(tape, of)
    first, second, before = (
        tape.input(name, _FLOAT, [of.size]) for name in ("first_moment", "second_moment", "accumulated")
    )
    scalars = Scalars(
        first_correction=tape.input("first_correction", _FLOAT, []),
        second_correction=tape.input("second_correction", _FLOAT, []),
        learning_rate=tape.input("learning_rate", _FLOAT, []),
        weight_decay=tape.input("weight_decay", _FLOAT, []),
        max_norm=tape.input("max_gradient_norm", _FLOAT, []),
    )
    tape.mark(*parts.values())
    normed, head, targets, weights = _labelled(tape, of, parts, recompute=recompute)
    loss, gradient = likelihood(tape, normed, head, targets, weights)
    sums = tape.gradients({normed: gradient()})
    flat = [tape.op("Reshape", sums[parts[name]], tape.sizes(-1)) for name in of.parameters]
    total = tape.op("Add", before, tape.op("Concat", *flat, axis=0))
    updated = adamw(tape, adapter, first, second, total, scalars)
    tape.output("loss", loss, _FLOAT, [])
    tape.output("gradient_norm", updated.norm, _FLOAT, [])
    for name, value in (
        ("gradient", total),
        ("new_adapter", updated.parameters),
        ("new_first_moment", updated.first),
        ("new_second_moment", updated.second),
    ):
        tape.output(name, value, _FLOAT, [of.size])
    return tape.model("train", of.facts)


def evaluation_graph(of: Blueprint) -> onnx.ModelProto:
    """The weighted sum of the labelled tokens' negative log likelihoods, in nats."""
    tape = Tape()
    _, parts = _adapter(tape, of)
    loss, _ = likelihood(tape, *_labelled(tape, of, parts))
    tape.output("loss", loss, _FLOAT, [])
    return tape.model("evaluate", of.facts)


def generation_graph(of: Blueprint) -> onnx.ModelProto:
    """Logits of the token that follows, and keys and values of all tokens so far; no padding anywhere."""
    tape, a = Tape(), of.architecture
    _, parts = _adapter(tape, of)
    tokens = tape.input("input_ids", _WHOLE, ["b", "s"])
    past: dict[str, list[str]] = {"key": [], "value": []}
    for number in range(a.blocks):
        for kind, names in past.items():
            shape: list[int | str] = ["b", a.pairs, "p", a.head_width]
            names.append(tape.input(f"past_key_values.{number}.{kind}", _FLOAT, shape))
    decoder = Decoder(tape, a, of.frozen, _loras(of, parts))
    x, cache = decoder.hidden(tokens, _last_rows(tape, tokens), Cache(past["key"], past["value"]))
    logits = tape.op("Gemm", x, _head(tape, of).forward, transB=1)
    tape.output("logits", logits, _FLOAT, ["b", a.vocabulary])
    for number in range(a.blocks):
        for kind, values in (("key", cache.keys), ("value", cache.values)):
            tape.output(f"present.{number}.{kind}", values[number], _FLOAT, ["b", a.pairs, "t", a.head_width])
    return tape.model("generate", of.facts)


def _adapter(tape: Tape, of: Blueprint) -> tuple[str, dict[str, str]]:
    """The input with all parameters, (P,), and its matrices by name."""
    adapter = tape.input("adapter", _FLOAT, [of.size])
    parts, end = {}, 0
    for name, shape in of.parameters.items():
        begin, end = end, end + math.prod(shape)
        # Cut out one by one: graphics processors write only a few arrays at once.
        piece = tape.op("Slice", adapter, tape.sizes(begin), tape.sizes(end), tape.sizes(0))
        parts[name] = tape.op("Reshape", piece, tape.sizes(*shape))
    return adapter, parts


def _loras(of: Blueprint, parts: Mapping[str, str]) -> dict[str, Lora]:
    return {
        layer.name: Lora(parts[layer.a], parts[layer.b], layer.scale, of.parameters[layer.a][0]) for layer in of.layers
    }


def _head(tape: Tape, of: Blueprint) -> Head:
    name = "model.embed_tokens.weight" if of.architecture.tied else "lm_head.weight"
    return Head(
        forward=of.frozen.matrix(tape, name, "forward"),
        backward=lambda: of.frozen.matrix(tape, name, "backward"),
        rows=lambda chosen: of.frozen.rows(tape, name, chosen),
    )


def _labelled(
    tape: Tape, of: Blueprint, parts: Mapping[str, str], *, recompute: bool = False
) -> tuple[str, Head, str, str]:
    """Hidden states of the labelled places only, (m, d), the output layer, and their targets and weights, (m,)."""
    tokens = tape.input("input_ids", _WHOLE, ["b", "s"])
    rows, targets = (tape.input(name, _WHOLE, ["m"]) for name in ("rows", "targets"))
    weights = tape.input("weights", _FLOAT, ["m"])
    decoder = Decoder(tape, of.architecture, of.frozen, _loras(of, parts), recompute=recompute)
    x, _ = decoder.hidden(tokens, rows)
    return x, _head(tape, of), targets, weights


def _last_rows(tape: Tape, tokens: str) -> str:
    """(b,) the place of each sequence's last token among all rows: s - 1, 2 s - 1, ..."""
    shape = tape.op("Shape", tokens)
    length = tape.op("Gather", shape, tape.constant(1, np.int64))
    count = tape.op("Gather", shape, tape.constant(0, np.int64))
    one = tape.constant(1, np.int64)
    first, end = tape.op("Sub", length, one), tape.op("Mul", count, length)
    return tape.op("Range", first, end, length)
