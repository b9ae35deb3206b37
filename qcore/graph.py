"""A subgraph as a quantizer looks at it: who makes each tensor, who reads it, what is constant."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

import tflite_schema as ts
from kernels import ops
from kernels.opspec import Operand, OpSpec, Role
from qcore.params import TensorKey


@dataclass(frozen=True, eq=False)
class Graph:
    """Subgraph `subgraph` of `model`, with indices from tensors to operators made once."""

    model: ts.Model
    subgraph: int = 0

    @property
    def source(self) -> ts.SubGraph:
        return self.model.subgraphs[self.subgraph]

    @property
    def tensors(self) -> tuple[ts.Tensor, ...]:
        return self.source.tensors

    @property
    def operators(self) -> tuple[ts.Operator, ...]:
        return self.source.operators

    @property
    def inputs(self) -> tuple[int, ...]:
        return self.source.inputs

    @property
    def outputs(self) -> tuple[int, ...]:
        return self.source.outputs

    @cached_property
    def producer(self) -> dict[int, int]:
        """Tensor -> the operator that writes it; graph inputs and constants are absent."""
        return {t: i for i, op in enumerate(self.operators) for t in op.outputs if t >= 0}

    @cached_property
    def readers(self) -> dict[int, tuple[tuple[int, int], ...]]:
        """Tensor -> (operator, input position) of every read, in graph order."""
        found: dict[int, list[tuple[int, int]]] = {}
        for i, op in enumerate(self.operators):
            for position, t in enumerate(op.inputs):
                if t >= 0:
                    found.setdefault(t, []).append((i, position))
        return {t: tuple(reads) for t, reads in found.items()}

    def key(self, tensor: int) -> TensorKey:
        return TensorKey(self.subgraph, tensor)

    def name(self, tensor: int) -> str:
        """The tensor's name, or its number where it has none."""
        return self.tensors[tensor].name or f"tensor {tensor}"

    def is_constant(self, tensor: int) -> bool:
        """Whether the tensor has data in the file.

        Many files give what is computed a buffer of its own with no bytes in it.
        """
        if tensor < 0 or tensor in self.producer:
            return False
        record = self.tensors[tensor]
        buffer = self.model.buffers[record.buffer]
        empty = buffer.nbytes == 0 and 0 not in (record.shape or ())
        return record.buffer != 0 and buffer.data is not None and not empty

    def is_float(self, tensor: int) -> bool:
        return tensor >= 0 and self.tensors[tensor].type == ts.TensorType.FLOAT32

    def is_variable(self, tensor: int) -> bool:
        return tensor >= 0 and bool(self.tensors[tensor].is_variable)

    def constant(self, tensor: int) -> np.ndarray | None:
        """The data of a constant, in its shape."""
        return ts.array(self.model, self.subgraph, tensor)

    @cached_property
    def ranges(self) -> dict[tuple[object, ...], object]:
        """Where a planner keeps the ranges of constants that it has read once."""
        return {}

    def spec(self, operator: int) -> OpSpec | None:
        """The OpSpec of an operator, None for one that is not known."""
        return ops.find(self.operators[operator].name)

    def operand(self, operator: int, position: int) -> Operand | None:
        spec = self.spec(operator)
        return spec.operand(position) if spec else None

    def role(self, operator: int, position: int) -> Role | None:
        operand = self.operand(operator, position)
        return operand.role if operand else None

    def output_names(self, operator: int) -> tuple[str, ...]:
        """Names of an operator's outputs: what a recipe's name pattern is tried on."""
        return tuple(self.name(t) for t in self.operators[operator].outputs if t >= 0)

    def where(self, operator: int) -> str:
        """How a message names an operator: name, position, first output."""
        names = self.output_names(operator)
        return f"{self.operators[operator].name} {operator}" + (f" ({names[0]})" if names else "")


def graphs(model: ts.Model) -> tuple[Graph, ...]:
    """One Graph for each subgraph."""
    return tuple(Graph(model, i) for i in range(len(model.subgraphs)))
