"""One operator of a model as a target looks at it: types, shapes, parameters and constants."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import tflite_schema as ts
from kernels import ops
from kernels.call import Call, Tensor
from kernels.opspec import OpSpec, Role
from qcore.execute import Block
from qcore.graph import Graph, graphs


@dataclass(frozen=True)
class Operand:
    """A tensor in its place. index: in its subgraph.  signature: the shape with -1 where the file
    leaves it open."""

    index: int
    name: str
    tensor: Tensor
    role: Role
    signature: tuple[int, ...]
    output: bool = False

    def says(self, what: Any) -> str:
        """What was found of it, as a reason words it."""
        return f"{what} in {self.name!r}"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Site:
    """call: with no values but those of constants; what stands behind a DEQUANTIZE of constants
    counts as one.  inputs: as the file has them, None where absent."""

    subgraph: int
    number: int
    call: Call
    inputs: tuple[Operand | None, ...]
    outputs: tuple[Operand, ...]

    @property
    def name(self) -> str:
        return self.call.name

    @property
    def where(self) -> str:
        """How a message names it: name, position, first output."""
        first = f" ({self.outputs[0].name})" if self.outputs else ""
        return f"{self.name} {self.number}{first}"

    @cached_property
    def spec(self) -> OpSpec | None:
        return ops.find(self.name)

    @property
    def operands(self) -> tuple[Operand, ...]:
        """Inputs that are there, then outputs."""
        return (*(o for o in self.inputs if o is not None), *self.outputs)

    def of(self, *roles: Role) -> Iterator[Operand]:
        """Operands with one of these roles."""
        return (o for o in self.operands if o.role in roles)

    @property
    def computed(self) -> Iterator[Operand]:
        """What is no constant."""
        return (o for o in self.operands if not o.tensor.constant)

    @property
    def data(self) -> Operand | None:
        """The first activation, whose type names the kernel; an output where no input is one."""
        return next(self.of(Role.ACTIVATION), self.operands[0] if self.operands else None)

    @property
    def weight(self) -> Operand | None:
        return next(self.of(Role.WEIGHT), None)

    @property
    def bias(self) -> Operand | None:
        return next(self.of(Role.BIAS), None)

    def has(self, position: int) -> bool:
        return self.call.has(position)

    def input(self, position: int) -> Operand:
        """The operand at `position`. Raises NoKernel if it is absent."""
        self.call[position]
        found = self.inputs[position]
        assert found is not None
        return found

    @property
    def output(self) -> Operand:
        return self.outputs[0]

    def option(self, name: str, default: Any = 0) -> Any:
        return self.call.option(name, default)

    def numbers(self, position: int) -> list[int] | None:
        """The values of a constant of integers; None where it is absent or computed."""
        if not self.has(position) or not self.call[position].constant:
            return None
        return [int(n) for n in self.call[position].x.ravel()]

    def axes(self, position: int = 1) -> list[int] | None:
        """A constant of axes of the data, counted from the front."""
        found = self.numbers(position)
        rank = 0 if self.data is None else len(self.data.tensor.shape)
        return None if found is None else [n + rank if n < 0 else n for n in found]


def sites(model: ts.Model) -> tuple[Site, ...]:
    """Every operator of every subgraph, in the order of execution. Reads no constant yet."""
    return tuple(site for graph in graphs(model) for site in _of(graph))


def _of(graph: Graph) -> Iterator[Site]:
    block = Block(graph, "fast")
    unpacked = {
        op.outputs[0]: op.inputs[0]
        for op in graph.operators
        if op.name in ("DEQUANTIZE", "DENSIFY") and graph.is_constant(op.inputs[0])
    }
    for node in block.nodes:
        spec = ops.find(node.name)
        tensors: dict[int, Tensor] = {}
        for t in {*node.inputs, *node.outputs} - {-1}:
            known = block.tensors[t]
            if t in unpacked and t not in node.outputs:
                known = replace(known, constant=True)
            tensors[t] = known
        call = Call(
            node.name,
            tuple(None if t < 0 else tensors[t] for t in node.inputs),
            tuple(tensors[t] for t in node.outputs if t >= 0),
            node.options,
            version=node.version,
            intermediates=node.intermediates,
        )
        yield Site(
            graph.subgraph,
            node.number,
            call,
            tuple(
                None if t < 0 else _operand(graph, t, tensors, _role(spec, p))
                for p, t in enumerate(node.inputs)
            ),
            tuple(
                _operand(graph, t, tensors, Role.ACTIVATION, output=True)
                for t in node.outputs
                if t >= 0
            ),
        )


def _role(spec: OpSpec | None, position: int) -> Role:
    operand = None if spec is None else spec.operand(position)
    return Role.ACTIVATION if operand is None else operand.role


def _operand(
    graph: Graph, tensor: int, tensors: Mapping[int, Tensor], role: Role, output: bool = False
) -> Operand:
    record = graph.tensors[tensor]
    signature = tuple(int(n) for n in record.shape_signature or record.shape or ())
    return Operand(tensor, graph.name(tensor), tensors[tensor], role, signature, output)


def macs(site: Site) -> int:
    """Products that the operator sums, 0 for operators that are no sum of products; of shapes as
    the file declares them. A recurrent operator's over all steps of its sequence."""
    call = site.call
    if not call.outputs:
        return 0
    count = math.prod(call.output.shape)
    match site.name:
        case "CONV_2D":
            return count * math.prod(call[1].shape[1:])
        case "CONV_3D":
            return count * math.prod(call[1].shape[:4])
        case "DEPTHWISE_CONV_2D":
            return count * math.prod(call[1].shape[1:3])
        case "FULLY_CONNECTED":
            return count * call[1].shape[-1]
        case "BATCH_MATMUL":
            return count * call[0].shape[-2 if site.option("adj_x") else -1]
        case "TRANSPOSE_CONV":
            return math.prod(call[2].shape) * math.prod(call[1].shape[:3])
    if site.spec is not None and any(o.role is Role.STATE for o in site.spec.inputs):
        steps = math.prod(call[0].shape[:-1])
        return steps * sum(
            math.prod(o.tensor.shape) for o in site.of(Role.WEIGHT) if len(o.tensor.shape) == 2
        )
    return 0
