"""Static plans by rules A: what TFLiteConverter's int8 path (its MLIR quantizer) does.

In order: `simplify` drops what changes nothing, `ranges` decides whose calibrated range counts,
`recurrent` gives LSTM and SVDF theirs, `propagate` hands parameters through ties and notes who must
requantize, `constants` makes weights and biases, `decide` says which operators become integer and
who reads which version of a value, `emit` writes forms and steps, `fold` merges activations into
what precedes them; `qcore.plan.limits` says what the kernels cannot compute. `qcore.deviations`
lists where and why we depart from the converter; without them the file is the same, integer for
integer, but for rewrites without effect on numbers.

Sources: LiteRT converter/quantization/lite/quantize_model.cc, tf_tfl_passes.cc, and the files that
each module names; measured with tensorflow 2.21, which wins where it differs from newer sources.
"""

from __future__ import annotations

from collections.abc import Mapping

from qcore.graph import Graph
from qcore.params import Stats, TensorKey
from qcore.plan import limits
from qcore.plan.mlir import recurrent
from qcore.plan.mlir.emit import Emitter
from qcore.plan.mlir.fold import fold
from qcore.plan.mlir.problem import Problem
from qcore.plan.mlir.propagate import Propagation
from qcore.plan.mlir.simplify import simplify
from qcore.plan.values import SubgraphPlan
from qcore.recipe import Recipe

__all__ = ["plan_subgraph"]


def plan_subgraph(
    graph: Graph, recipe: Recipe, calibration: Mapping[TensorKey, Stats] | None
) -> SubgraphPlan:
    """The plan of one subgraph, operators of mode "static" integer where the rules allow it.

    Only subgraphs that a caller enters (the first, and those of signatures) take the recipe's
    input and output types; bodies of control flow keep float32 at their ends, as their callers do.
    """
    ranges = calibration or {}
    left = limits.unseen(graph, recipe, lambda t: graph.key(t) in ranges)
    left.update(limits.missing(graph, recipe))
    left.update(limits.narrow(graph, recipe))
    beyond = {graph.operators[i].outputs[0]: reason for i, reason in left.items()}
    while True:
        plan = _plan(Problem(graph, recipe, ranges, beyond=beyond))
        found = {**limits.exceeded(graph, plan, recipe), **_divisions(graph, plan, recipe, ranges)}
        found = {graph.operators[i].outputs[0]: reason for i, reason in found.items()}
        if not found.keys() - beyond.keys():
            return plan
        beyond = {**beyond, **found}


def _plan(problem: Problem) -> SubgraphPlan:
    graph = problem.graph
    simple = simplify(problem)
    recurrent.give(simple.problem, simple.kept)
    found = Propagation(simple.problem, simple.kept)
    found.run()
    entry = graph.subgraph == 0 or any(
        s.subgraph_index == graph.subgraph for s in graph.model.signature_defs or ()
    )
    plan = Emitter(simple.problem, found, entry).emit()
    return simple.restore(fold(simple.problem.graph, plan))


def _divisions(
    graph: Graph, plan: SubgraphPlan, recipe: Recipe, ranges: Mapping[TensorKey, Stats]
) -> dict[int, str]:
    """Integer DIV whose divisor can be the integer of 0, where its kernel stops."""
    found: dict[int, str] = {}
    if not recipe.deviates("zero_divisors"):
        return found
    for step in plan.steps:
        if step.source is None or step.name != "DIV" or step.mode != "int8":
            continue
        form = plan.forms[step.inputs[1]]
        stats = form.stats or ranges.get(graph.key(form.tensor))
        assert form.params is not None
        half = float(form.params.scale[0]) / 2
        if stats is None or (float(stats.lo[0]) < half and float(stats.hi[0]) > -half):
            found[step.source] = "its kernel stops at a divisor of 0, which this one can be"
    return found
