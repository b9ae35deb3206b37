"""Static plans by rules B: TFLite's older quantizer, which TFLiteConverter uses for 16x8.

One pass over the operators in order gives every tensor its parameters: outputs from their own
range, from the first data operand or fixed by the operator; inserted QUANTIZE and DEQUANTIZE belong
to one operand of one operator. A second pass, backwards, brings the operands of CONCATENATION and
the like to the output's scale; biases come last. `choice` decides which operators are integer,
`draft` does the passes, `constants` the weights and biases, `states` LSTM and SVDF, `ends` the
graph's inputs and outputs; `qcore.plan.limits` says what the kernels cannot compute.
`qcore.deviations` lists where and why the result departs from the older quantizer; without them it
is the same, integer for integer.

Sources: LiteRT tools/optimize/quantize_model.cc, quantization_utils.cc, model_utils.cc,
converter/tools/optimize/operator_property.cc.
"""

from __future__ import annotations

from typing import Any

from qcore.graph import Graph
from qcore.plan import limits
from qcore.plan.legacy.choice import calibrated_ranges, choose
from qcore.plan.legacy.draft import Draft
from qcore.plan.values import SubgraphPlan
from qcore.recipe import Recipe


def plan_subgraph(graph: Graph, recipe: Recipe, calibration: Any) -> SubgraphPlan:
    """What becomes of one subgraph.

    Raises CannotQuantize where the older quantizer stops and the recipe forbids the deviation,
    BadStatistics for a range that is not finite, BadRecipe for a rule that is missing.
    """
    ranges = calibrated_ranges(graph, calibration)
    choices = choose(graph, recipe, ranges, {})
    beyond = limits.unseen(graph, recipe, lambda t: t in ranges)
    beyond = {i: reason for i, reason in beyond.items() if choices[i].dtype is not None}
    while True:
        choices = choose(graph, recipe, ranges, beyond)
        part = Draft(graph, recipe, ranges, choices).plan()
        found = limits.exceeded(graph, part, recipe)
        if not found:
            return part
        beyond.update(found)
