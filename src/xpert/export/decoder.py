"""A decoder as a graph: from tokens to hidden states, with the adapter's matrices as values that can be learned.

Knows the blocks of Llama and its relatives; nothing of losses.

Legend: b sequences, s tokens of each, n = b s, d width, p tokens in the cache, e width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from xpert.export import layers
from xpert.export.architecture import Architecture
from xpert.export.frozen import Frozen
from xpert.export.layers import Linear, Lora, Turn
from xpert.export.tape import Tape

COSINES, SINES = "rotary.cos", "rotary.sin"
_FAR = -1e30
"""Added to the score of a token that may not be seen; its exponential is 0."""


@dataclass(frozen=True, slots=True)
class Cache:
    """Keys and values of the tokens so far, (b, k, p, e), a pair for each block."""

    keys: Sequence[str]
    values: Sequence[str]


class Decoder:
    """Writes a decoder to a tape.

    Args:
        tape: to write to.
        architecture: of the decoder.
        frozen: its weights.
        loras: name of a layer -> its adapter.
        recompute: keep the input of each block only, and compute the block again for its gradients.
    """

    def __init__(
        self,
        tape: Tape,
        architecture: Architecture,
        frozen: Frozen,
        loras: Mapping[str, Lora],
        *,
        recompute: bool = False,
    ) -> None:
        self._tape, self._of, self._frozen, self._loras = tape, architecture, frozen, loras
        self._recompute = recompute

    def hidden(self, tokens: str, rows: str, cache: Cache | None = None) -> tuple[str, Cache]:
        """Rows before the output layer, (m, d), and keys and values with the new tokens behind the old.

        The last block needs keys and values of all tokens, and everything else of the chosen ones only.

        Args:
            tokens: (b, s).
            rows: (m,) the places in (n,) that are wanted.
            cache: of the tokens before; None: there are none.
        """
        tape, of = self._tape, self._of
        shape = tape.op("Shape", tokens)
        begin = tape.constant(0, np.int64)
        if cache is not None:
            begin = tape.op("Gather", tape.op("Shape", cache.keys[0]), tape.constant(2, np.int64))
        length = tape.op("Gather", shape, tape.constant(1, np.int64))
        end = tape.op("Add", begin, length)
        turn = self._turn(begin, end)
        scale = tape.constant(of.head_width**-0.5)
        scaled = Turn(tape.op("Mul", turn.cos, scale), tape.op("Mul", turn.sin, scale))
        block = _Block(
            mask=self._mask(begin, end),
            turns=(scaled, turn),
            queries=tape.op("Concat", shape, tape.sizes(of.heads, of.head_width), axis=0),
            pairs=tape.op("Concat", shape, tape.sizes(of.pairs, of.head_width), axis=0),
        )
        x = self._frozen.rows(tape, "model.embed_tokens.weight", tape.op("Reshape", tokens, tape.sizes(-1)))
        keys, values = [], []
        for number in range(of.blocks):
            past = None if cache is None else (cache.keys[number], cache.values[number])
            last, name = number == of.blocks - 1, f"model.layers.{number}"
            write = partial(self._block, name, block=block, past=past, chosen=rows if last else None)
            # The last block's values are needed at once: nothing is won by computing them again.
            again = self._recompute and not last
            x, key, value = tape.recomputed(write, x, self._parameters(name)) if again else write(x)
            keys.append(key)
            values.append(value)
        return self._norm(x, "model.norm.weight", of.width), Cache(keys, values)

    def _parameters(self, block: str) -> list[str]:
        of_block = [lora for name, lora in self._loras.items() if name.startswith(f"{block}.")]
        return [matrix for lora in of_block for matrix in (lora.a, lora.b)]

    def _norm(self, x: str, name: str, width: int) -> str:
        return layers.rms_norm(self._tape, x, self._frozen.value(self._tape, name), width, self._of.epsilon)

    def _linears(self, x: str, *names: str, again: Callable[[], str] | None = None) -> list[str]:
        tape, frozen = self._tape, self._frozen
        group = [
            Linear(
                forward=frozen.matrix(tape, f"{name}.weight", "forward"),
                backward=partial(frozen.matrix, tape, f"{name}.weight", "backward"),
                bias=frozen.value(tape, f"{name}.bias") if frozen.has(f"{name}.bias") else None,
                lora=self._loras.get(name),
            )
            for name in names
        ]
        return layers.linears(tape, x, group, again)

    def _turn(self, begin: str, end: str) -> Turn:
        tape = self._tape
        bounds = [tape.op("Unsqueeze", value, tape.sizes(0)) for value in (begin, end)]
        cos, sin = (
            tape.op("Slice", self._frozen.value(tape, name), *bounds, tape.sizes(0)) for name in (COSINES, SINES)
        )
        return Turn(cos, sin)

    def _mask(self, begin: str, end: str) -> str:
        """(s, p + s): 0 where a token may look, which is back and at itself."""
        tape = self._tape
        one = tape.constant(1, np.int64)
        seen = tape.op("Range", tape.constant(0, np.int64), end, one)
        rows = tape.op("Unsqueeze", tape.op("Range", begin, end, one), tape.sizes(1))
        return tape.op("Where", tape.op("LessOrEqual", seen, rows), tape.constant(0.0), tape.constant(_FAR))

    def _block(
        self, name: str, x: str, block: _Block, past: tuple[str, str] | None, chosen: str | None
    ) -> tuple[str, str, str]:
        of, tape = self._of, self._tape
        inner = self._norm(x, f"{name}.input_layernorm.weight", of.width)
        made, key, value = self._attention(f"{name}.self_attn", inner, block, past)
        if chosen is not None:
            x, made = layers.pick(tape, x, chosen), layers.pick(tape, made, chosen)
        (made,) = self._linears(made, f"{name}.self_attn.o_proj")
        x = layers.add(tape, x, made)
        inner = self._norm(x, f"{name}.post_attention_layernorm.weight", of.width)
        a, b = self._linears(inner, f"{name}.mlp.gate_proj", f"{name}.mlp.up_proj")
        gated, again = layers.gate(tape, a, b)
        (made,) = self._linears(gated, f"{name}.mlp.down_proj", again=again)
        return layers.add(tape, x, made), key, value

    def _attention(self, name: str, x: str, block: _Block, past: tuple[str, str] | None) -> tuple[str, str, str]:
        of, tape = self._of, self._tape
        q, k, v = self._linears(x, f"{name}.q_proj", f"{name}.k_proj", f"{name}.v_proj")
        if of.head_norms:
            q, k = self._head_norm(f"{name}.q_norm", q, of.heads), self._head_norm(f"{name}.k_norm", k, of.pairs)
        wide, narrow = of.heads * of.head_width, of.pairs * of.head_width
        q = layers.rotate(tape, layers.rows_to_heads(tape, q, block.queries, wide), block.turns[0])
        k = layers.rotate(tape, layers.rows_to_heads(tape, k, block.pairs, narrow), block.turns[1])
        v = layers.rows_to_heads(tape, v, block.pairs, narrow)
        if past is not None:
            k = tape.op("Concat", past[0], k, axis=2)
            v = tape.op("Concat", past[1], v, axis=2)
        out = layers.attend(tape, q, k, v, block.mask, of.heads, of.pairs)
        return layers.heads_to_rows(tape, out, block.queries, wide), k, v

    def _head_norm(self, name: str, x: str, heads: int) -> str:
        of, tape = self._of, self._tape
        apart = layers.reshape(tape, x, tape.sizes(-1, of.head_width), tape.sizes(-1, heads * of.head_width))
        normed = self._norm(apart, f"{name}.weight", of.head_width)
        return layers.reshape(tape, normed, tape.sizes(-1, heads * of.head_width), tape.sizes(-1, of.head_width))


@dataclass(frozen=True, slots=True)
class _Block:
    """What all blocks share: the mask, turns of queries and keys, shapes of both as (b, s, heads, e)."""

    mask: str
    turns: tuple[Turn, Turn]
    queries: str
    pairs: str
