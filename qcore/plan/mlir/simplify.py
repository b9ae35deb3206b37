"""Operators that change nothing, and operators nobody reads: gone before ranges are looked at.

The converter's folders run first, so an operator that hands on its input has no part in ties. Its
result's range stays: it is a second range of the same value. Where only one of the two survives,
input and result are one tensor; where both do, the value is requantized between them.

Source: LiteRT converter/ir/tfl_ops.cc (the `fold` methods).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

import tflite_schema as ts
from kernels.opspec import Role
from qcore.graph import Graph
from qcore.params import Stats, TensorKey
from qcore.plan.mlir import recurrent
from qcore.plan.mlir.problem import Problem
from qcore.plan.mlir.ranges import kept
from qcore.plan.values import SubgraphPlan

SAME_SHAPE = frozenset({"RESHAPE", "SLICE", "SQUEEZE", "PAD", "PADV2"})
# They call other subgraphs, or are random.
EFFECTS = frozenset(
    {"WHILE", "IF", "CALL", "CALL_ONCE", "STABLEHLO_COMPOSITE"}
    | {"RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL"}
)
NEUTRAL = {"ADD": (0.0, (0, 1)), "SUB": (0.0, (1,)), "MUL": (1.0, (0, 1)), "DIV": (1.0, (1,))}


@dataclass(frozen=True)
class Simplified:
    """problem: what is left to plan.  kept: tensors that keep their own range.

    origin: operators of the smaller graph -> operators of the source.  folded: what is gone, why.
    """

    problem: Problem
    kept: frozenset[int]
    origin: tuple[int, ...]
    folded: tuple[tuple[int, str], ...]

    def restore(self, plan: SubgraphPlan) -> SubgraphPlan:
        """The plan of the smaller graph in the source's operator numbers."""
        steps = tuple(
            s if s.source is None else s.replace(source=self.origin[s.source]) for s in plan.steps
        )
        folded = [(self.origin[i], reason) for i, reason in plan.folded]
        return plan.replace(steps=steps, folded=tuple(sorted((*folded, *self.folded))))


def simplify(problem: Problem) -> Simplified:
    """The problem without operators that change nothing or that nobody reads."""
    dead = _dead(problem.graph)
    problem = recurrent.with_shared_ranges(_without(problem, dead, {}, {}))
    origin = [i for i in range(len(dead)) if not dead[i]]
    folded = [(i, "nobody reads its results") for i in range(len(dead)) if dead[i]]

    graph = problem.graph
    handed = {i: t for i in range(len(graph.operators)) if (t := _hands_on(graph, i)) is not None}
    problem = replace(problem, copies=frozenset(handed), _grids={})
    own = kept(problem)
    merged: dict[int, int] = {}  # result -> input
    ranges: dict[TensorKey, Stats] = {}
    keeping = set(own)
    gone = []
    for i, source in handed.items():
        source = merged.get(source, source)
        (target,) = graph.operators[i].outputs
        if not _one_tensor(problem, keeping, source, target, i):
            continue
        if target in keeping:
            stats = problem.range(target)
            assert stats is not None
            ranges[graph.key(source)] = stats
            keeping = (keeping - {target}) | {source}
        merged[target] = source
        gone.append(i)
    if not gone:
        return Simplified(problem, own, tuple(origin), tuple(folded))
    drop = [i in gone for i in range(len(graph.operators))]
    folded += [(origin[i], "changes nothing") for i in gone]
    left = [i for i in range(len(drop)) if not drop[i]]
    smaller = _without(problem, drop, merged, ranges)
    copies = frozenset(n for n, i in enumerate(left) if i in problem.copies)
    smaller = replace(smaller, copies=copies, _grids={})
    return Simplified(
        smaller, frozenset(keeping), tuple(origin[i] for i in left), tuple(sorted(folded))
    )


def _one_tensor(problem: Problem, own: set[int], source: int, target: int, operator: int) -> bool:
    """Whether input and result of an operator that changes nothing end up on one grid."""
    graph = problem.graph
    if graph.is_constant(source) or (source in graph.inputs and target in graph.outputs):
        return False
    if target not in own:
        return True
    if source in own:
        a, b = problem.grid(source), problem.grid(target)
        return a is not None and a.same(b)
    alone = graph.readers[source] == ((operator, graph.operators[operator].inputs.index(source)),)
    return alone and source not in graph.outputs


def _hands_on(graph: Graph, operator: int) -> int | None:
    """The input that an operator hands on as it is, None where it does something."""
    op = graph.operators[operator]
    if len(op.outputs) != 1 or not graph.is_float(op.outputs[0]):
        return None
    out = graph.tensors[op.outputs[0]]
    if getattr(op.options, "fused_activation_function", 0) or not _static(out):
        return None

    def same(tensor: int) -> bool:
        source = graph.tensors[tensor]
        computed = graph.is_float(tensor) and not graph.is_constant(tensor)
        return computed and _static(source) and source.shape == out.shape

    if op.name in SAME_SHAPE:
        return op.inputs[0] if same(op.inputs[0]) else None
    if op.name == "STRIDED_SLICE":
        return op.inputs[0] if same(op.inputs[0]) and _whole(graph, operator) else None
    if op.name in NEUTRAL:
        value, positions = NEUTRAL[op.name]
        for position in positions:
            other = op.inputs[1 - position]
            constant = graph.constant(op.inputs[position])
            if constant is not None and same(other) and _splat(constant, value):
                return other
    return None


def _splat(constant: np.ndarray, value: float) -> bool:
    """Whether all values are `value`, bit for bit the same (0 and -0 mixed are not)."""
    bits = constant.reshape(-1).view(np.uint32)
    return bool(bits.size and (bits == bits[0]).all() and constant.reshape(-1)[0] == value)


def _static(tensor: object) -> bool:
    signature = getattr(tensor, "shape_signature", None) or ()
    return all(n >= 0 for n in signature)


def _whole(graph: Graph, operator: int) -> bool:
    """Whether STRIDED_SLICE takes all, from 0 in steps of 1 and without masks."""
    op = graph.operators[operator]
    masks = ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    if any(getattr(op.options, f"{m}_mask", 0) for m in masks):
        return False
    begin, end, strides = (graph.constant(t) for t in op.inputs[1:4])
    if begin is None or end is None or strides is None:
        return False
    shape = graph.tensors[op.inputs[0]].shape
    whole = shape is not None and tuple(int(n) for n in end) == tuple(shape[: len(end)])
    return bool(whole and not begin.any() and (strides == 1).all())


def _dead(graph: Graph) -> list[bool]:
    """Operators without effect: nobody reads a result and nothing outside can notice them."""
    needed = {t for t in graph.outputs if t >= 0}
    dead = [False] * len(graph.operators)
    for i in reversed(range(len(graph.operators))):
        op, spec = graph.operators[i], graph.spec(i)
        pure = (
            spec is not None
            and bool(op.outputs)
            and op.name not in EFFECTS
            and all(o.role is not Role.STATE for o in spec.inputs)
            and not any(graph.is_variable(t) for t in op.inputs)
            and not any(
                graph.tensors[t].type == ts.TensorType.RESOURCE for t in op.inputs if t >= 0
            )
        )
        dead[i] = pure and not any(t in needed for t in op.outputs)
        if not dead[i]:
            needed.update(t for t in op.inputs if t >= 0)
    return dead


def _without(
    problem: Problem,
    drop: list[bool],
    merged: dict[int, int],
    ranges: dict[TensorKey, Stats],
) -> Problem:
    """The problem without some operators, tensors replaced by those they are merged with."""
    if not any(drop):
        return problem
    graph = problem.graph

    def at(tensors: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(merged.get(t, t) for t in tensors)

    operators = tuple(
        op.replace(inputs=at(op.inputs))
        for op, gone in zip(graph.operators, drop, strict=True)
        if not gone
    )
    source = graph.source.replace(operators=operators, outputs=at(graph.outputs))
    subgraphs = list(graph.model.subgraphs)
    subgraphs[graph.subgraph] = source
    model = graph.model.replace(subgraphs=tuple(subgraphs))
    smaller = Graph(model, graph.subgraph)
    smaller.ranges.update(graph.ranges)  # constants are the same
    return replace(
        problem,
        graph=smaller,
        ranges={**problem.ranges, **ranges},
        _grids={},
    )
