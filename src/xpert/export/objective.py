"""The loss of labelled tokens and the step of AdamW as ONNX operations.

Knows arithmetic only; nothing of decoders or files. Every parameter of the adapter lies in one long vector, so clipping
and AdamW are a dozen operations, however many layers there are.

Legend: m labelled rows, d width, v vocabulary, P parameters of the adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xpert.export.tape import Tape

BETAS = (0.9, 0.999)
EPSILON = 1e-8
_CLIP_EPSILON = 1e-6
"""As `torch.nn.utils.clip_grad_norm_`."""


@dataclass(frozen=True, slots=True)
class Head:
    """The output layer: W (v, d), what writes it for the backward product, and rows of it by token."""

    forward: str
    backward: Callable[[], str]
    rows: Callable[[str], str]


def likelihood(tape: Tape, x: str, head: Head, targets: str, weights: str) -> tuple[str, Callable[[], str]]:
    """sum_i w_i (logsumexp(W x_i) - W_{t_i} x_i), in nats, and a way to its gradient.

    With z the largest logit of a row, e = exp(W x_i - z) and q = sum(e): logsumexp = z + log q, and the gradient of row
    i is w_i (e W / q - W_{t_i}). The target's row is taken from the table itself and the division is done after the
    product, so the (m, v) numbers are read as seldom as can be.

    Args:
        tape: of the graph.
        x: (m, d), rows before the output layer.
        head: the output layer.
        targets: (m,) tokens.
        weights: (m,) of each in the sum.

    Returns:
        The loss, a scalar, and a function that writes the gradient of x, (m, d).
    """
    last = tape.sizes(1)
    logits = tape.op("Gemm", x, head.forward, transB=1)
    top = tape.op("ReduceMax", logits, last)
    e = tape.op("Exp", tape.op("Sub", logits, top))
    q = tape.op("ReduceSum", e, last)
    column = tape.op("Unsqueeze", weights, last)
    chosen = head.rows(targets)
    own = tape.op("ReduceSum", tape.op("Mul", x, chosen), last)
    gap = tape.op("Sub", tape.op("Add", tape.op("Log", q), top), own)
    loss = tape.op("ReduceSum", tape.op("Mul", gap, column), keepdims=0)

    def gradient() -> str:
        expected = tape.op("Div", tape.op("Gemm", e, head.backward()), q)
        return tape.op("Mul", tape.op("Sub", expected, chosen), column)

    return loss, gradient


@dataclass(frozen=True, slots=True)
class Updated:
    """What AdamW made: parameters and moments, (P,) each, and the length of the gradient before clipping."""

    parameters: str
    first: str
    second: str
    norm: str


@dataclass(frozen=True, slots=True)
class Scalars:
    """Numbers of a step that the caller chooses, as values of the graph.

    Attributes:
        first_correction: 1 - b1^t at step t, which counts from 1.
        second_correction: sqrt(1 - b2^t).
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        max_norm: the gradient is shortened to this length.
    """

    first_correction: str
    second_correction: str
    learning_rate: str
    weight_decay: str
    max_norm: str


def adamw(tape: Tape, parameters: str, first: str, second: str, gradient: str, scalars: Scalars) -> Updated:
    """AdamW (Loshchilov and Hutter, 2019) after clipping by length, as PyTorch computes both.

        g <- g min(1, max_norm / (|g| + 1e-6));  m <- m + (1 - b1) (g - m);  u <- b2 u + (1 - b2) g^2
        w <- w (1 - lr decay) - lr / first_correction m / (sqrt(u) / second_correction + 1e-8)

    The corrections depend on the step alone. They are left to the caller, who has double precision: 1 - 0.999 loses
    four digits in single, and graphics processors have no double.
    """
    norm = tape.op("Sqrt", tape.op("ReduceSumSquare", gradient, keepdims=0))
    limit = tape.op("Div", scalars.max_norm, tape.op("Add", norm, tape.constant(_CLIP_EPSILON)))
    g = tape.op("Mul", gradient, tape.op("Min", limit, tape.constant(1.0)))
    beta1, beta2 = BETAS
    m = tape.op("Add", first, tape.op("Mul", tape.op("Sub", g, first), tape.constant(1 - beta1)))
    squared = tape.op("Mul", tape.op("Mul", g, g), tape.constant(1 - beta2))
    u = tape.op("Add", tape.op("Mul", second, tape.constant(beta2)), squared)
    rate = tape.op("Div", scalars.learning_rate, scalars.first_correction)
    root = tape.op("Div", tape.op("Sqrt", u), scalars.second_correction)
    below = tape.op("Add", root, tape.constant(EPSILON))
    decay = tape.op("Sub", tape.constant(1.0), tape.op("Mul", scalars.learning_rate, scalars.weight_decay))
    kept = tape.op("Mul", parameters, decay)
    return Updated(tape.op("Sub", kept, tape.op("Div", tape.op("Mul", m, rate), below)), m, u, norm)
