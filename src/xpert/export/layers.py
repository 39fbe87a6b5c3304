"""The layers of a decoder as ONNX operations, each with the rule of its gradient.

Knows arithmetic only: weights come as values of a tape. Rows of all sequences lie under each other, so that frozen
weights stand as they are stored, (out, in), in both directions: the forward product reads them transposed
(Gemm, transB), the backward one plain. Nothing is transposed beforehand, nothing is kept twice.

Legend: b sequences, s tokens of each, n = b s rows, d width, r rank, f width of the gate, h heads, k heads of keys and
values, g = h / k, e width of a head, p tokens in the cache, t = p + s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from xpert.export.tape import Grad, Tape


@dataclass(frozen=True, slots=True)
class Lora:
    """The adapter of one layer: A (r, in), B (out, r) and scale, alpha / r."""

    a: str
    b: str
    scale: float
    rank: int


@dataclass(frozen=True, slots=True)
class Linear:
    """A frozen layer, y = x W^T + bias, with or without an adapter.

    Attributes:
        forward: W, (out, in), for the forward product.
        backward: writes the same for the backward one; late, since a runtime may run operations in the order in which
            they were written, and a matrix that is made wide from int8 then would wait in memory.
        bias: (out,), or None.
        lora: its adapter, or None.
    """

    forward: str
    backward: Callable[[], str]
    bias: str | None
    lora: Lora | None


def linears(tape: Tape, x: str, layers: Sequence[Linear], again: Callable[[], str] | None = None) -> list[str]:
    """Layers that read the same rows: y_i = x W_i^T + bias_i + scale_i (x A_i^T) B_i^T.

    The matrices A_i are put under each other, so that x is read once for all of them. Gradients, with u_i = x A_i^T:

        dB_i = scale_i dy_i^T u_i,  du_i = scale_i dy_i B_i,  dA_i = du_i^T x,  dx = sum_i dy_i W_i + du_i A_i

    `again` writes x anew for the backward part, where computing it twice is cheaper than keeping it.
    """
    adapted = [layer.lora for layer in layers if layer.lora is not None]
    stack, parts = _low_rank(tape, x, adapted)
    given = iter(parts)
    outputs, us = [], []
    for layer in layers:
        y = tape.op("Gemm", x, layer.forward, layer.bias, transB=1)
        u = None
        if layer.lora is not None:
            u = next(given)
            y = tape.op("Gemm", u, layer.lora.b, y, alpha=layer.lora.scale, transB=1)
        outputs.append(y)
        us.append(u)

    def rule(grads: Sequence[Grad], sums: Sequence[Grad]) -> list[Grad]:
        dx, d_us, d_bs = sums[0], [], []
        for layer, dy, u in zip(layers, grads, us, strict=True):
            if dy is None:
                raise ValueError("every output of a group of layers must be used")
            if tape.needs(x):
                dx = tape.op("Gemm", dy, layer.backward(), dx)
            if layer.lora is not None:
                # u is thin: u^T dy, turned over, is much faster than dy^T u.
                across = tape.op("Gemm", u, dy, transA=1, alpha=layer.lora.scale)
                d_bs.append(tape.op("Transpose", across, perm=[1, 0]))
                d_us.append(tape.op("Gemm", dy, layer.lora.b, alpha=layer.lora.scale))
        if not adapted:
            return [dx]
        du = d_us[0] if len(d_us) == 1 else tape.op("Concat", *d_us, axis=1)
        if tape.needs(x):
            dx = tape.op("Gemm", du, stack, dx)
        da = tape.op("Gemm", du, x if again is None else again(), transA=1)
        return [dx, *_parted(tape, da, [lora.rank for lora in adapted], axis=0), *d_bs]

    tape.record(outputs, [x, *(lora.a for lora in adapted), *(lora.b for lora in adapted)], rule)
    return outputs


def _low_rank(tape: Tape, x: str, adapted: Sequence[Lora]) -> tuple[str, list[str]]:
    """All A under each other, and x A_i^T one by one."""
    if not adapted:
        return "", []
    stack = adapted[0].a if len(adapted) == 1 else tape.op("Concat", *(lora.a for lora in adapted), axis=0)
    u = tape.op("Gemm", x, stack, transB=1)
    return stack, _parted(tape, u, [lora.rank for lora in adapted], axis=1)


def _parted(tape: Tape, value: str, sizes: Sequence[int], axis: int) -> list[str]:
    return [value] if len(sizes) == 1 else tape.ops("Split", len(sizes), value, tape.sizes(*sizes), axis=axis)


def add(tape: Tape, left: str, right: str) -> str:
    """left + right, of one shape."""
    out = tape.op("Add", left, right)

    def rule(grads: Sequence[Grad], sums: Sequence[Grad]) -> list[Grad]:
        assert grads[0] is not None
        return [tape.plus(total, grads[0]) for total in sums]

    tape.record([out], [left, right], rule)
    return out


def rms_norm(tape: Tape, x: str, weight: str, width: int, epsilon: float) -> str:
    """y = x q w with q = 1 / sqrt(mean(x^2) + epsilon) of each row (Zhang and Sennrich, 2019); w is frozen.

    With c = dy w: dx = q c - x q^3 sum(c x) / d. Only x, which is kept anyway, is needed backwards.
    """
    square = tape.op("Mul", tape.op("ReduceSumSquare", x, tape.sizes(-1)), tape.constant(1 / width))
    q = tape.op("Reciprocal", tape.op("Sqrt", tape.op("Add", square, tape.constant(epsilon))))
    out = tape.op("Mul", tape.op("Mul", x, q), weight)

    def rule(grads: Sequence[Grad], sums: Sequence[Grad]) -> list[Grad]:
        assert grads[0] is not None
        c = tape.op("Mul", grads[0], weight)
        dot = tape.op("ReduceSum", tape.op("Mul", c, x), tape.sizes(-1))
        cube = tape.op("Mul", tape.op("Mul", tape.op("Mul", q, q), q), tape.constant(1 / width))
        shift = tape.op("Mul", x, tape.op("Mul", cube, dot))
        return [tape.plus(sums[0], tape.op("Sub", tape.op("Mul", c, q), shift))]

    tape.record([out], [x], rule)
    return out


def gate(tape: Tape, a: str, b: str) -> tuple[str, Callable[[], str]]:
    """a z b with z = sigmoid(a) (Shazeer, 2020), and what writes the same again for the backward part.

    With c = a z: db = dy c, da = b (dy z + db - db z). Sigmoid, c and output are computed again backwards, from the
    same numbers in another shape, so that no runtime takes them for the forward ones and keeps those in memory.
    """
    out = tape.op("Mul", tape.op("Mul", a, tape.op("Sigmoid", a)), b)

    @cache
    def again() -> tuple[str, str, str]:
        wide = tape.op("Sigmoid", tape.op("Unsqueeze", a, tape.sizes(0)))
        z = tape.op("Squeeze", wide, tape.sizes(0))
        c = tape.op("Mul", a, z)
        return z, c, tape.op("Mul", c, b)

    def rule(grads: Sequence[Grad], sums: Sequence[Grad]) -> list[Grad]:
        assert grads[0] is not None
        z, c, _ = again()
        db = tape.op("Mul", grads[0], c)
        v = tape.op("Mul", grads[0], z)
        bend = tape.op("Sub", tape.op("Add", v, db), tape.op("Mul", db, z))
        return [tape.plus(sums[0], tape.op("Mul", b, bend)), tape.plus(sums[1], db)]

    tape.record([out], [a, b], rule)
    return out, lambda: again()[2]


@dataclass(frozen=True, slots=True)
class Turn:
    """cos and sin of the tokens at hand, (s, e / 2) each: a half of what transformers keeps doubled."""

    cos: str
    sin: str


def rotate(tape: Tape, x: str, turn: Turn) -> str:
    """Rotary positions (Su et al., 2021) on (b, heads, s, e): halves (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin).

    The gradient turns the other way: (y1, y2) -> (y1 cos + y2 sin, y2 cos - y1 sin).
    """
    out = _turned(tape, x, turn, "Sub", "Add")

    def rule(grads: Sequence[Grad], sums: Sequence[Grad]) -> list[Grad]:
        assert grads[0] is not None
        return [tape.plus(sums[0], _turned(tape, grads[0], turn, "Add", "Sub"))]

    tape.record([out], [x], rule)
    return out


def _turned(tape: Tape, x: str, turn: Turn, first: str, second: str) -> str:
    one, two = tape.ops("Split", 2, x, axis=-1, num_outputs=2)
    left = tape.op(first, tape.op("Mul", one, turn.cos), tape.op("Mul", two, turn.sin))
    right = tape.op(second, tape.op("Mul", two, turn.cos), tape.op("Mul", one, turn.sin))
    return tape.op("Concat", left, right, axis=-1)


def rows_to_heads(tape: Tape, x: str, shape: str, width: int) -> str:
    """(n, heads e) -> (b, heads, s, e); `shape` is the list (b, s, heads, e), `width` is heads e."""
    out = tape.op("Transpose", tape.op("Reshape", x, shape), perm=[0, 2, 1, 3])

    def rule(grads: Sequence[Grad], sums: Sequence[Grad]) -> list[Grad]:
        assert grads[0] is not None
        back = tape.op("Transpose", grads[0], perm=[0, 2, 1, 3])
        return [tape.plus(sums[0], tape.op("Reshape", back, tape.sizes(-1, width)))]

    tape.record([out], [x], rule)
    return out


def heads_to_rows(tape: Tape, x: str, shape: str, width: int) -> str:
    """(b, heads, s, e) -> (n, heads e); `shape` is the list (b, s, heads, e), `width` is heads e."""
    back = tape.op("Transpose", x, perm=[0, 2, 1, 3])
    out = tape.op("Reshape", back, tape.sizes(-1, width))

    def rule(grads: Sequence[Grad], sums: Sequence[Grad]) -> list[Grad]:
        assert grads[0] is not None
        turned = tape.op("Transpose", tape.op("Reshape", grads[0], shape), perm=[0, 2, 1, 3])
        return [tape.plus(sums[0], turned)]

    tape.record([out], [x], rule)
    return out


def attend(tape: Tape, q: str, k: str, v: str, mask: str, heads: int, pairs: int) -> str:
    """softmax(q k^T + mask) v, with `heads` / `pairs` heads of q to each of k and v (Ainslie et al., 2023).

    The queries of one group stand under each other, so that no key or value is repeated. With P the softmax and O the
    output of a head: dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), dQ = dS K, dK = dS^T Q (Dao et al., 2022).

    Args:
        tape: of the graph.
        q: (b, h, s, e), scaled already.
        k: (b, k, t, e).
        v: (b, k, t, e).
        mask: (s, t); what is added to the scores.
        heads: h.
        pairs: k.

    Returns:
        (b, h, s, e).
    """

    def grouped(value: str) -> str:
        return value if heads == pairs else tape.op("Reshape", value, tape.sizes(0, pairs, -1, 0))

    def apart(value: str) -> str:
        return value if heads == pairs else tape.op("Reshape", value, tape.sizes(0, heads, -1, 0))

    def flipped(value: str) -> str:
        return tape.op("Transpose", value, perm=[0, 1, 3, 2])

    queries = grouped(q)
    scores = apart(tape.op("MatMul", queries, flipped(k)))
    p = grouped(tape.op("Softmax", tape.op("Add", scores, mask), axis=-1))
    o = tape.op("MatMul", p, v)
    out = apart(o)

    def rule(grads: Sequence[Grad], sums: Sequence[Grad]) -> list[Grad]:
        assert grads[0] is not None
        do = grouped(grads[0])
        rowsum = tape.op("ReduceSum", tape.op("Mul", do, o), tape.sizes(-1))
        ds = tape.op("Mul", p, tape.op("Sub", tape.op("MatMul", do, flipped(v)), rowsum))
        totals = list(sums)
        if tape.needs(q):
            totals[0] = tape.plus(sums[0], apart(tape.op("MatMul", ds, k)))
        if tape.needs(k):
            totals[1] = tape.plus(sums[1], tape.op("MatMul", flipped(ds), queries))
        if tape.needs(v):
            totals[2] = tape.plus(sums[2], tape.op("MatMul", flipped(p), do))
        return totals

    tape.record([out], [q, k, v], rule)
    return out


def reshape(tape: Tape, x: str, shape: str, back: str) -> str:
    """The same numbers in another shape; `back` is the shape they came in."""
    out = tape.op("Reshape", x, shape)

    def rule(grads: Sequence[Grad], sums: Sequence[Grad]) -> list[Grad]:
        assert grads[0] is not None
        return [tape.plus(sums[0], tape.op("Reshape", grads[0], back))]

    tape.record([out], [x], rule)
    return out


def pick(tape: Tape, x: str, rows: str) -> str:
    """Rows (m,) of x (n, d); the gradient puts them back among zeros, and adds up a row that was picked twice."""
    out = tape.op("Gather", x, rows, axis=0)

    def rule(grads: Sequence[Grad], sums: Sequence[Grad]) -> list[Grad]:
        zeros = tape.op("ConstantOfShape", tape.op("Shape", x))
        places = tape.op("Unsqueeze", rows, tape.sizes(1))
        return [tape.plus(sums[0], tape.op("ScatterND", zeros, places, grads[0], reduction="add"))]

    tape.record([out], [x], rule)
    return out
