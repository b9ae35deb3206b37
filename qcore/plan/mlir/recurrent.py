"""LSTM and SVDF: operands that follow the operator's own table instead of the common rules.

Their inputs and states are not widened when the range is tiny, the cell state has a power of two
for a scale, state and output share one range, and a hidden state before a projection has
parameters without being an operand.

Sources: LiteRT converter/transforms/prepare_quantize_helper.h (ConvertLstmStatsToQDQs,
PrepareLstmOutputScale), converter/tools/optimize/operator_property.cc.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kernels import scales
from kernels.opspec import Operand, Role
from qcore.errors import BadRecipe
from qcore.params import Affine, Stats
from qcore.plan import common
from qcore.plan.mlir.problem import Grid, Problem
from qcore.schemes import MinMax


def recurrent(problem: Problem, operator: int) -> bool:
    """Whether an operator's state makes it one of these."""
    spec = problem.specs[operator]
    return (
        problem.quantizable(operator)
        and spec is not None
        and any(o.role is Role.STATE for o in spec.inputs)
    )


def with_shared_ranges(problem: Problem) -> Problem:
    """The problem with one range, the union, for states and outputs that share it."""
    graph = problem.graph
    ranges = dict(problem.ranges)
    for i, op in enumerate(graph.operators):
        spec = problem.specs[i]
        if not recurrent(problem, i) or spec is None:
            continue
        for position, result in spec.shared:
            if position >= len(op.inputs) or op.inputs[position] < 0:
                continue
            state, output = op.inputs[position], op.outputs[result]
            a, b = problem.range(state), problem.range(output)
            if a is not None and b is not None:
                ranges[graph.key(state)] = ranges[graph.key(output)] = a.union(b)
    return replace(problem, ranges=ranges, _grids={})


def give(problem: Problem, kept: frozenset[int]) -> None:
    """Enters the parameters of tensors that these operators read and that keep their range."""
    for i, op in enumerate(problem.graph.operators):
        spec = problem.specs[i]
        if not recurrent(problem, i) or spec is None:
            continue
        for position, tensor in problem.inputs(i):
            operand = spec.operand(position)
            stats = problem.range(tensor)
            if operand is not None and tensor in kept and stats is not None:
                problem.give(tensor, _grid(problem, operand, tensor, stats))
        for position, tensor in enumerate(op.intermediates or ()):
            operand = spec.intermediates[position]
            stats = problem.ranges.get(problem.graph.key(tensor))
            used = operand.dtype is None or _normalized(problem, i)
            if stats is not None and used:
                problem.give(tensor, _grid(problem, operand, tensor, stats))


def _normalized(problem: Problem, operator: int) -> bool:
    """Whether an LSTM has layer norm, without which the gates' intermediates are unused."""
    spec, op = problem.specs[operator], problem.graph.operators[operator]
    assert spec is not None
    at = spec.position("forget_layer_norm")
    return at < len(op.inputs) and op.inputs[at] >= 0


def _grid(problem: Problem, operand: Operand, tensor: int, stats: Stats) -> Grid:
    found = problem.activation_setting(tensor)
    what = f"tensor {problem.graph.name(tensor)!r}"
    if found.scheme is None or found.dtype is None:
        raise BadRecipe(f"no rule gives {what} a scheme and a dtype; add one for activations")
    dtype = operand.dtype or found.dtype
    if operand.power_of_two:
        params = Affine(scales.power_of_two_mlir(stats.lo, stats.hi), np.zeros(1))
        return Grid(dtype, params, "power of two", stats)
    if dtype == "int16" and found.dtype != "int16":
        magnitude = np.maximum(np.abs(stats.lo), np.abs(stats.hi))
        q = common.int_range(dtype, True, what)
        params = Affine(scales.symmetric_mlir(magnitude, q), np.zeros(1))
        return Grid(dtype, params, "symmetric", stats)
    scheme = found.scheme
    if isinstance(scheme, MinMax):
        scheme = replace(scheme, widen="none")
    q = common.int_range(dtype, scheme.takes_narrow, what)
    return Grid(dtype, common.choose(scheme, stats, q, what), scheme.key, stats)
