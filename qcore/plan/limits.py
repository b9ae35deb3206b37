"""What integer kernels cannot compute, found in a finished plan of either dialect.

Sources: LiteRT kernels/internal/quantization_util.cc (QuantizeMultiplierSmallerThanOneExp aborts at
1), kernels/add.cc and sub.cc (left shifts 20 and 15), kernels/internal/common.cc (a 16x8
accumulator is shifted right by 15 less the multiplier's exponent), kernels/comparisons.cc,
kernels/activations.cc (HARD_SWISH). Measured with ai-edge-litert 2.3: XNNPACK creates no runtime
for an accumulator's multiplier of 256 or more, and the batched product crashes far above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from kernels.opspec import Role
from kernels.ranges import NAMED
from qcore.graph import Graph
from qcore.plan import common
from qcore.plan.signs import nonnegative
from qcore.plan.values import Step, SubgraphPlan
from qcore.recipe import INTEGER, Recipe

LARGEST = {"int8": 2.0**30, "int16x8": 2.0**14}
ACCUMULATED = {"int8": 2.0**8, "int16x8": 2.0**14}  # of convolutions and matrix products
LEFT_SHIFT = {"int8": 20, "int16x8": 15}
COMPARISONS = ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
ROOTS = ("SQRT", "RSQRT")
# Largest real value of a clamping activation, whose integer must fit 32 bits.
CLAMPS = {"RELU6": 6.0, "RELU_N1_TO_1": 1.0, "RELU_0_TO_1": 1.0}


def exceeded(graph: Graph, part: SubgraphPlan, recipe: Recipe) -> dict[int, str]:
    """Integer operators that their kernels cannot compute, with the reason."""
    found: dict[int, str] = {}
    if recipe.deviates("negative_roots"):
        found.update(_roots(graph, part))
    if recipe.deviates("runtime_limits"):
        found.update(_multipliers(graph, part))
    return found


def missing(graph: Graph, recipe: Recipe) -> dict[int, str]:
    """Operators that the converter makes int8 though no runtime has a kernel for it."""
    found: dict[int, str] = {}
    for i, op in enumerate(graph.operators):
        spec = graph.spec(i)
        if spec is None or not spec.mlir or "int8" in spec.kernels:
            continue
        computes = any(graph.is_float(t) for t in op.outputs)
        if computes and recipe.deviates("missing_kernels"):
            found[i] = "no runtime has an int8 kernel"
    return found


# The runtime has kernels of these; what they compute, or where they would stand, speaks
# against them.
HELD_BACK: Mapping[str, str] = {
    "DIV": "the integer kernel saturates quotients near zero",
    "ASSIGN_VARIABLE": "variables are shared between subgraphs and stay float",
    "READ_VARIABLE": "variables are shared between subgraphs and stay float",
    "EMBEDDING_LOOKUP": "an integer table with float output is the work of weight-only modes",
    "UNIQUE": "it has no integer form that other operators can read",
    "RANK": "it reads no values",
    "WHERE": "the integer kernel ignores the zero point",
}


def narrow(graph: Graph, recipe: Recipe) -> dict[int, str]:
    """Operators of mode int16x8 that no runtime computes on int16 activations, with the reason."""
    found: dict[int, str] = {}
    for i, op in enumerate(graph.operators):
        spec = graph.spec(i)
        if spec is None or not spec.mlir or not op.outputs or not common.is_wide(graph, recipe, i):
            continue
        if "int16" not in spec.kernels:
            found[i] = "no runtime has an int16 kernel"
        elif op.name in HELD_BACK:
            found[i] = HELD_BACK[op.name]
        for position, t in enumerate(op.inputs):
            operand = spec.operand(position)
            if t < 0 or operand is None or graph.is_constant(t):
                continue
            if operand.role in (Role.WEIGHT, Role.BIAS):
                found[i] = f"its {operand.name} {graph.name(t)!r} is computed"
    return found


def unseen(graph: Graph, recipe: Recipe, known: Callable[[int], bool]) -> dict[int, str]:
    """LSTMs without ranges of the values inside them that their integer kernel scales by.

    These are the gates before layer normalization, and the output before a projection. known:
    whether a tensor has a range.
    """
    found: dict[int, str] = {}
    for i, op in enumerate(graph.operators):
        spec = graph.spec(i)
        static = recipe.mode(op.name, graph.output_names(i)) in INTEGER
        if spec is None or not static or not recipe.deviates("uncalibrated"):
            continue
        for operand, tensor in zip(spec.intermediates, op.intermediates or ()):
            gate = operand.name.endswith("_gate")
            user = operand.name.replace("_gate", "_layer_norm") if gate else "projection_weights"
            at = spec.position(user)
            if at < len(op.inputs) and op.inputs[at] >= 0 and not known(tensor):
                found[i] = (
                    f"its kernel needs the range of its {operand.name}, a value inside it, which "
                    "the calibration does not have"
                )
    return found


def _roots(graph: Graph, part: SubgraphPlan) -> dict[int, str]:
    """Roots whose input has integers for negative values, and may come to hold one."""
    found: dict[int, str] = {}
    roots = [s for s in part.steps if s.name in ROOTS and s.mode in LARGEST]
    never = nonnegative(graph) if roots else frozenset()
    for step in roots:
        form = part.forms[step.inputs[0]]
        if step.source is None or form.params is None or form.tensor in never:
            continue
        if form.params.zero_point[0] > NAMED[form.dtype].qmin:
            found[step.source] = "its kernel stops at a negative input, which rounding can produce"
    return found


def _multipliers(graph: Graph, part: SubgraphPlan) -> dict[int, str]:
    found: dict[int, str] = {}
    for step in part.steps:
        if step.source is None or step.mode not in LARGEST:
            continue
        values = [part.forms[f].params for f in step.inputs if f >= 0]
        scales = [p.scale.astype(np.float64) for p in values if p is not None]
        out = [part.forms[f].params for f in step.outputs if f >= 0]
        written = [p.scale.astype(np.float64) for p in out if p is not None]
        if not scales:
            continue
        with np.errstate(all="ignore"):
            reason = _reason(graph, part, step, scales, written[0] if written else np.ones(1))
        if reason:
            found[step.source] = reason
    return found


def _reason(
    graph: Graph, part: SubgraphPlan, step: Step, read: list[np.ndarray], written: np.ndarray
) -> str | None:
    every = np.concatenate([*read, written])
    if not np.isfinite(every).all():
        return "a scale is infinite"
    if _clamp(graph, step) / float(written.min()) >= 2.0**31:
        return "the integer at which its activation clamps is beyond 32 bits"
    spec = graph.spec(step.source) if step.source is not None else None
    places = spec.weight_and_bias if spec is not None else None
    if spec is not None and spec.data is not None and places is not None:
        data, weight = (part.forms[step.inputs[p]].params for p in (spec.data, places[0]))
        if data is None or weight is None:
            return None
        multiplier = data.scale.astype(np.float64) * weight.scale / written
        return _too_large(multiplier, ACCUMULATED[step.mode]) or _bias(
            part, step, places[1], float(written.min())
        )
    rule = _RULES.get(step.name)
    return rule(read, written, step.mode) if rule is not None else None


def _bias(part: SubgraphPlan, step: Step, position: int, written: float) -> str | None:
    """A bias alone may take the result, in steps of the output, beyond 32 bits, where it wraps."""
    if position >= len(step.inputs) or step.inputs[position] < 0:
        return None
    stats = part.forms[step.inputs[position]].stats
    if stats is None or max(-stats.lo.min(), stats.hi.max()) / written < 2.0**30:
        return None
    return "its bias is beyond 32 bits in steps of the output"


def _clamp(graph: Graph, step: Step) -> float:
    """Where the operator's own or fused activation clamps, 0 if it does not."""
    assert step.source is not None
    fused = getattr(graph.operators[step.source].options, "fused_activation_function", None)
    return CLAMPS.get(step.name, 0.0) or CLAMPS.get(getattr(fused, "name", ""), 0.0)


def _too_large(multiplier: np.ndarray, largest: float) -> str | None:
    worst = float(np.max(multiplier))
    if worst < largest:
        return None
    return f"the multiplier {worst:.3g} is beyond what its kernel can hold"


def _sum(read: list[np.ndarray], written: np.ndarray, mode: str) -> str | None:
    """ADD, SUB: the sum, scaled up by a left shift, must shrink on its way to the output."""
    largest = max(float(s.max()) for s in read)
    multiplier = 2.0 * largest / (2.0 ** LEFT_SHIFT[mode] * float(written.max()))
    if multiplier < 1.0:
        return None
    return (
        f"the output's scale is too small beside its operands' (multiplier {multiplier:.3g} >= 1)"
    )


def _product(read: list[np.ndarray], written: np.ndarray, mode: str) -> str | None:
    return _too_large(np.prod([float(s.max()) for s in read]) / written, LARGEST[mode])


def _matrices(read: list[np.ndarray], written: np.ndarray, mode: str) -> str | None:
    return _too_large(np.prod([float(s.max()) for s in read]) / written, ACCUMULATED[mode])


def _hard_swish(read: list[np.ndarray], written: np.ndarray, mode: str) -> str | None:
    return _too_large(read[0] / written, 2.0**7)


def _comparison(read: list[np.ndarray], written: np.ndarray, mode: str) -> str | None:
    """Both operands are brought to one grid by multipliers that must be below 1."""
    if max(float(s.max()) for s in read) < 1.0:
        return None
    return "its kernel takes scales below 1 only"


def _ratio(read: list[np.ndarray], written: np.ndarray, mode: str) -> str | None:
    return _too_large(read[0] / written, LARGEST[mode])


_RULES: dict[str, Callable[[list[np.ndarray], np.ndarray, str], str | None]] = {
    **dict.fromkeys(("ADD", "SUB", "SQUARED_DIFFERENCE"), _sum),
    **dict.fromkeys(("MUL", "PRELU"), _product),
    **dict.fromkeys(COMPARISONS, _comparison),
    "BATCH_MATMUL": _matrices,
    "HARD_SWISH": _hard_swish,
    **dict.fromkeys(("MEAN", "SUM", "LEAKY_RELU", "RELU", "RELU6", "RELU_N1_TO_1", "ABS"), _ratio),
}
