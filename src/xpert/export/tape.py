"""An ONNX graph that is written forwards and then differentiated backwards.

Knows operators of opset 18 and names of values; nothing of models. A value is the name of a tensor in the graph. What
needs a gradient is marked; an operation that takes such a value leaves a rule behind, and `gradients` walks the rules
from the last to the first (reverse mode). Values that lead to nothing marked have no rule, so a graph never computes
a gradient that nobody needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 8
"""The oldest that has opset 18, so that runtimes from early 2023 on read the graphs."""

Grad = str | None
Rule = Callable[[Sequence[Grad], Sequence[Grad]], Sequence[Grad]]
"""Gradients of the outputs, sums so far of the inputs' gradients -> the sums with this operation's share."""


@dataclass(frozen=True, slots=True)
class _Record:
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    rule: Rule


class Tape:
    """A graph in the making."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._constants: dict[tuple[Any, ...], str] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._records: list[_Record] = []
        self._marked: set[str] = set()
        self._count = 0

    def input(self, name: str, dtype: int, shape: Sequence[int | str]) -> str:
        """An input of the graph; a text in `shape` is the name of a size that is free."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def output(self, name: str, value: str, dtype: int, shape: Sequence[int | str]) -> None:
        """Make a value an output of the graph under a name of its own."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))

    def external(self, tensor: TensorProto) -> str:
        """A tensor whose bytes lie in a file beside the graph."""
        self._initializers.setdefault(tensor.name, tensor)
        return str(tensor.name)

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """A small tensor inside the graph; equal ones are kept once."""
        array = np.asarray(value, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._initializers[name] = numpy_helper.from_array(array, name)
            self._constants[key] = name
        return self._constants[key]

    def sizes(self, *values: int) -> str:
        """A constant list of whole numbers, as Reshape, Split and the reductions take it."""
        return self.constant(values, np.int64)

    def op(self, kind: str, *inputs: str | None, **attributes: Any) -> str:
        """One operation with one output; a missing optional input is None."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: str | None, **attributes: Any) -> list[str]:
        """One operation with several outputs."""
        names = [f"{kind.lower()}_{self._count}" + (f"_{i}" if count > 1 else "") for i in range(count)]
        self._count += 1
        self._nodes.append(helper.make_node(kind, [name or "" for name in inputs], names, **attributes))
        return names

    def mark(self, *values: str) -> None:
        """From now on, gradients of these are wanted."""
        self._marked.update(values)

    def needs(self, value: str) -> bool:
        """Whether a gradient of this value is wanted, or leads to one that is."""
        return value in self._marked

    def record(self, outputs: Sequence[str], inputs: Sequence[str], rule: Rule) -> None:
        """Leave the rule of an operation, where one of its inputs needs a gradient.

        The rule gets the gradients of the outputs (None: not used) and the sums so far of the inputs' gradients
        (None: nothing yet), and gives back the new sums; what it returns for an input without need is not looked at.
        """
        if any(self.needs(value) for value in inputs):
            self._marked.update(outputs)
            self._records.append(_Record(tuple(outputs), tuple(inputs), rule))

    def plus(self, total: Grad, share: str) -> str:
        """A sum so far, with one more share."""
        return share if total is None else self.op("Add", total, share)

    def gradients(self, seeds: Mapping[str, str]) -> dict[str, str]:
        """Value -> gradient, for everything that leads to the seeds; call once, after the forward part.

        Args:
            seeds: values -> their gradients, where the walk backwards begins.
        """
        return self._walk(self._records, seeds)

    def recomputed(self, write: Callable[[str], Sequence[str]], x: str, parameters: Sequence[str]) -> Sequence[str]:
        """A part of the graph of which only its input is kept: it is written again for the backward part.

        The second writing reads x in the shape of the gradient that comes in. So no runtime takes its values for the
        forward ones and keeps those, and none can begin with it before that gradient is there (Chen et al., 2016).

        Args:
            write: from x to outputs, the first of which has the shape of x; called again by `gradients`.
            x: the input.
            parameters: everything else in the part that may need a gradient.
        """
        outputs, _ = self._aside(write, x)

        def rule(grads: Sequence[Grad], sums: Sequence[Grad]) -> list[Grad]:
            if grads[0] is None:
                raise ValueError("the first output of a recomputed part must be used")
            late = self.op("Reshape", x, self.op("Shape", grads[0]))
            if self.needs(x):
                self.mark(late)
            again, records = self._aside(write, late)
            begun = [*zip([late, *parameters], sums, strict=True), *zip(again, grads, strict=True)]
            found = self._walk(records, {name: grad for name, grad in begun if grad is not None})
            return [found.get(name) for name in (late, *parameters)]

        self.record(outputs, [x, *parameters], rule)
        return outputs

    def _aside(self, write: Callable[[str], Sequence[str]], x: str) -> tuple[Sequence[str], list[_Record]]:
        """Write, and keep the rules apart from those of the graph."""
        kept, self._records = self._records, []
        try:
            return write(x), self._records
        finally:
            self._records = kept

    def _walk(self, records: Sequence[_Record], seeds: Mapping[str, str]) -> dict[str, str]:
        sums: dict[str, str] = dict(seeds)
        for record in reversed(records):
            given = [sums.get(name) for name in record.outputs]
            if all(grad is None for grad in given):
                continue
            totals = record.rule(given, [sums.get(name) for name in record.inputs])
            for name, total in zip(record.inputs, totals, strict=True):
                if total is not None and self.needs(name):
                    sums[name] = total
        return sums

    def model(self, name: str, facts: Mapping[str, str]) -> onnx.ModelProto:
        """The finished graph.

        Args:
            name: of the graph.
            facts: texts that the file carries along.
        """
        used = {value for node in self._nodes for value in node.input}
        initializers = [tensor for key, tensor in self._initializers.items() if key in used]
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, initializers)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="xpert"
        )
        helper.set_model_props(model, dict(facts))
        return model
