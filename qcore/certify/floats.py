"""The float model beside the quantized one: which of its constants stands where.

Operators are matched in order, leaving out those that only change the type and those whose inputs
are all constant; then their operands have to be matched alike, or the models are not the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kernels import activation, ops
from kernels.errors import KernelError
from qcore.errors import BadInput, CannotRun
from qcore.execute import Executor, Node

BORDER = frozenset({"QUANTIZE", "DEQUANTIZE"})


def constants(
    quantized: Executor, model: object, subgraph: int
) -> dict[tuple[int, int], np.ndarray]:
    """(operator of the quantized graph, operand) -> its float values.

    Raises BadInput where the graphs are not the same but for types.
    """
    floats = Executor(model, mode="real")
    ours, theirs = _Graph(quantized, subgraph), _Graph(floats, subgraph)
    found: dict[tuple[int, int], np.ndarray] = {}
    same = dict(zip(ours.inputs, theirs.inputs))
    one, two = list(ours.computing()), list(theirs.computing())
    for a, b in zip(one, two):
        if a.name != b.name:
            raise BadInput(
                f"the float model is another one: operator {b.number} of it is {b.name} where the "
                f"quantized model has {a.name} ({a.number}); give the model that was quantized"
            )
        if len(a.inputs) != len(b.inputs) or _activation(a) != _activation(b):
            raise BadInput(f"{a.name} {a.number}: operands or options differ in the float model")
        for position, (x, y) in enumerate(zip(a.inputs, b.inputs)):
            x, y = ours.origin(x), theirs.origin(y)
            value = theirs.known.get(y)
            if value is not None and value.dtype == np.float32:
                found[a.number, position] = value
            elif value is None and same.setdefault(x, y) != y:
                raise BadInput(
                    f"{a.name} {a.number}: its operand {position} is made by another operator in "
                    "the float model; give the model that was quantized"
                )
        same.update(zip(a.outputs, b.outputs))
    if len(one) != len(two):
        raise BadInput(
            f"the float model has {len(two)} operators that compute, the quantized one {len(one)}; "
            "give the model that was quantized"
        )
    return found


def _activation(node: Node) -> int:
    return int(getattr(node.options, "fused_activation_function", activation.NONE) or 0)


class _Graph:
    """known: tensors with one value, constants and what follows from them alone."""

    def __init__(self, executor: Executor, subgraph: int):
        self.block = executor.blocks[subgraph]
        self.inputs = self.block.graph.inputs
        self._passed: dict[int, int] = {}
        self.known = {t: x.x for t, x in enumerate(self.block.tensors) if x.constant}
        self._folded: set[int] = set()
        for node in self.block.nodes:
            if node.name in BORDER and node.inputs[0] not in self.known:
                self._passed[node.outputs[0]] = self.origin(node.inputs[0])
            elif node.inputs and all(t < 0 or t in self.known for t in node.inputs):
                try:
                    call = executor.call(subgraph, node, self.known)
                    made = ops.compute(call, executor.mode)
                except (KernelError, CannotRun):
                    continue
                self.known.update(zip(node.outputs, made))
                self._folded.add(node.number)

    def origin(self, tensor: int) -> int:
        """The tensor before changes of type."""
        return self._passed.get(tensor, tensor)

    def computing(self) -> Iterator[Node]:
        skipped = self._folded
        return (n for n in self.block.nodes if n.name not in BORDER and n.number not in skipped)
