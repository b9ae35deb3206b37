"""Which calibrated ranges count: of tensors that must share parameters only one keeps its own.

Source: LiteRT converter/quantization/common/quantization_lib/quantization_utils.cc
(RemoveRedundantStatsOps). The order of the two sweeps matters, the order within one does not.
"""

from __future__ import annotations

from qcore.plan.mlir.problem import Problem


def kept(problem: Problem) -> frozenset[int]:
    """Tensors whose own calibrated range becomes their parameters.

    Forward: results of operators with a fixed output range lose theirs, and so do results of a
    tied operator with one float operand where that operand has a range. Backward: where the result
    of a tied operator still has its range, every operand loses its own, through chains of tied
    operators up to graph inputs. Nothing is shared across the border of an island of int16.
    """
    graph = problem.graph
    tensors = {t for t in range(len(graph.tensors)) if problem.range(t) is not None}
    lost: set[int] = set()
    for i in range(len(graph.operators)):
        results = {t for _, t in problem.outputs(i)} & tensors
        operands = problem.inputs(i)
        if problem.fixed(i):
            lost |= results
        if problem.tied(i) and len(operands) == 1 and operands[0][1] in tensors:
            if problem.computes(i) or not problem.apart(i, operands[0][1]):
                lost |= results

    # An operator stands behind all it reads, so one sweep from the end reaches everything.
    reached = tensors - lost
    for i in reversed(range(len(graph.operators))):
        results = {t for _, t in problem.outputs(i) if not problem.apart(i, t)}
        if problem.tied(i) and results & reached:
            above = {t for _, t in problem.inputs(i) if not problem.apart(i, t)} & tensors
            lost |= above
            reached |= above
    return frozenset(tensors - lost)
