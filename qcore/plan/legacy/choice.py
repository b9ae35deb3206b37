"""Which operators rules B compute in integers, and why the others stay as they are.

Sources of the rules: LiteRT converter/tools/optimize/operator_property.cc (which operators),
tools/optimize/quantize_model.cc (what stops the older quantizer).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kernels.opspec import Operand, OpSpec, Role, Tie
from qcore.errors import BadRecipe, CannotQuantize
from qcore.graph import Graph
from qcore.params import Stats, TensorKey
from qcore.plan import common
from qcore.plan.limits import HELD_BACK
from qcore.recipe import INTEGER, Recipe

MODES: Mapping[str, str] = {"int8": "int8", "int16": "int16x8"}  # by activation type
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
# Beside int16 outputs the older quantizer makes the constant data of these int16, and of operators
# with tied scales; that of all others int8.
AS_ACTIVATIONS = frozenset(
    {"ADD", "SUB", "MUL", "BATCH_MATMUL", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", "GATHER"}
)
# Kernels that take weights with the type and zero point of activations.
TAKES_COMPUTED = frozenset(
    {("FULLY_CONNECTED", "int8"), ("FULLY_CONNECTED", "int16"), ("PRELU", "int8")}
)
LSTM = frozenset({"LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"})


@dataclass(frozen=True)
class Choice:
    """dtype: activation type of the integer operator, None if it is not one.

    tie: which scales it shares.  note: why it stays float.  kept: it works on no real values.
    """

    dtype: str | None = None
    tie: Tie = Tie.NONE
    note: str | None = None
    kept: bool = False


def choose(
    graph: Graph,
    recipe: Recipe,
    ranges: Mapping[int, Stats],
    beyond: Mapping[int, str],
) -> tuple[Choice, ...]:
    """One Choice for each operator, in order.

    ranges: calibrated ranges by tensor.  beyond: operators that exceed what a kernel can hold.
    Raises CannotQuantize where the older quantizer stops and the recipe does not deviate there.
    """
    integer: set[int] = set()  # tensors that an integer operator writes
    choices = []
    for i, op in enumerate(graph.operators):
        choice = _choice(graph, recipe, i, beyond)
        if choice.dtype is not None and (
            missing := _unknown_range(graph, i, choice, ranges, integer)
        ):
            if not recipe.deviates("uncalibrated"):
                raise CannotQuantize(
                    f"{graph.where(i)} needs the range of {missing!r}, which was not calibrated; "
                    "give samples that reach it, or allow the deviation 'uncalibrated'"
                )
            choice = Choice(note=f"no range was calibrated for {missing!r}")
        if choice.dtype is not None:
            # The older quantizer wants the ranges of these as well where they are read.
            integer.update(op.outputs if recipe.deviates("uncalibrated") else ())
        elif _stops(graph, recipe, i, choice):
            raise CannotQuantize(
                f"{graph.where(i)} has no integer form ({choice.note}) and TFLite's quantizer "
                "stops there; allow the deviation 'float_operators' to leave it float"
            )
        choices.append(choice)
    return tuple(choices)


def _stops(graph: Graph, recipe: Recipe, i: int, choice: Choice) -> bool:
    """Whether the older quantizer refuses the whole model for this operator."""
    op = graph.operators[i]
    if (
        recipe.deviates("float_operators")
        or recipe.mode(op.name, graph.output_names(i)) not in INTEGER
    ):
        return False
    if op.name == "DEQUANTIZE" and op.outputs[0] in graph.outputs:
        return False
    spec = graph.spec(i)
    known = spec is not None and _dtype(graph, recipe, i, spec) in spec.legacy
    return bool(choice.note) or not known


def _choice(graph: Graph, recipe: Recipe, i: int, beyond: Mapping[int, str]) -> Choice:
    op, spec = graph.operators[i], graph.spec(i)
    if not any(graph.is_float(t) for t in (*op.inputs, *op.outputs)):
        return Choice(kept=True)
    mode = recipe.mode(op.name, graph.output_names(i))
    if mode not in INTEGER:
        return Choice(note="the recipe leaves it float" if mode == "float" else None)
    if op.name in CONVERSIONS:
        return Choice()
    if spec is None:
        return Choice(note="no integer form of this operator is known")
    if not _reads_values(graph, i, spec):
        return Choice(kept=True)
    dtype = _dtype(graph, recipe, i, spec)
    note = beyond.get(i) or _no_integer_form(graph, recipe, i, spec, dtype)
    if note:
        return Choice(note=note)
    return Choice(dtype, _tie(recipe, spec, dtype))


def _reads_values(graph: Graph, i: int, spec: OpSpec) -> bool:
    """Whether an operand that a quantizer looks at is float."""
    op = graph.operators[i]
    data = [
        t
        for p, t in enumerate(op.inputs)
        if t >= 0 and (o := spec.operand(p)) is not None and o.role is not Role.INDEX
    ]
    made = [
        t
        for p, t in enumerate(op.outputs)
        if (o := spec.output(p)) is None or o.role is not Role.INDEX
    ]
    return any(graph.is_float(t) for t in (*data, *made))


def _dtype(graph: Graph, recipe: Recipe, i: int, spec: OpSpec) -> str:
    """The activation type that the recipe sets for an operator."""
    at = spec.data
    if at is not None and at < len(graph.operators[i].inputs):
        found = common.setting(graph, recipe, i, at)
    elif graph.operators[i].outputs:
        found = common.output_setting(graph, recipe, i)
    else:
        found = recipe.setting(spec.name, "activation", "", "")
    if found.dtype is None:
        raise BadRecipe(
            f"recipe {recipe.name!r} makes {graph.where(i)} static but sets no dtype for its "
            'activations; add a rule with operand = "activation" and a dtype'
        )
    return found.dtype


def _no_integer_form(graph: Graph, recipe: Recipe, i: int, spec: OpSpec, dtype: str) -> str | None:
    """Why an operator cannot be integer; None if it can."""
    op = graph.operators[i]
    if dtype in spec.legacy:
        if dtype not in spec.kernels and op.name != "WHERE" and recipe.deviates("missing_kernels"):
            return f"no runtime has an {dtype} kernel"
        if op.name in ("ASSIGN_VARIABLE", "READ_VARIABLE", "WHERE"):
            return HELD_BACK[op.name]
    elif dtype not in spec.kernels:
        return f"no runtime has an {dtype} kernel" if spec.kernels else "it has no integer kernel"
    elif not recipe.deviates("more_operators"):
        return f"TFLite's quantizer has no {dtype} rule for it"
    elif op.name in HELD_BACK:
        return HELD_BACK[op.name]
    if op.name in LSTM and len(op.inputs) < 20:
        return "the basic cell with five inputs has no integer kernel"
    return _computed_weights(graph, recipe, i, spec, dtype)


def _computed_weights(graph: Graph, recipe: Recipe, i: int, spec: OpSpec, dtype: str) -> str | None:
    """Why weights or biases that are not constant keep an operator float."""
    if not recipe.deviates("dynamic_weights"):
        return None
    op = graph.operators[i]
    for position, t in enumerate(op.inputs):
        operand = spec.operand(position)
        if t < 0 or operand is None or graph.is_constant(t):
            continue
        if operand.role is Role.BIAS:
            return f"its bias {graph.name(t)!r} is computed"
        if operand.role is Role.WEIGHT and (op.name, dtype) not in TAKES_COMPUTED:
            return f"its {operand.name} {graph.name(t)!r} is computed"
    return None


def _tie(recipe: Recipe, spec: OpSpec, dtype: str) -> Tie:
    """How an operator's scales hang together under rules B."""
    tie = spec.tie_under("legacy")
    several = sum(o.role is Role.ACTIVATION for o in spec.inputs) > 1
    if spec.name == "SELECT" and recipe.deviates("select_scale"):
        return Tie.OUTPUT
    if spec.name == "SUM" and recipe.deviates("sum_range"):
        return Tie.NONE
    if dtype not in spec.legacy and tie is Tie.SAME and several:
        return Tie.OUTPUT
    return tie


def _unknown_range(
    graph: Graph, i: int, choice: Choice, ranges: Mapping[int, Stats], integer: set[int]
) -> str | None:
    """Name of a tensor whose range the integer operator needs and nobody knows."""
    op, spec = graph.operators[i], graph.spec(i)
    assert spec is not None
    for position, t in enumerate(op.inputs):
        operand = spec.operand(position)
        if t < 0 or operand is None or operand.role in (Role.INDEX, Role.BIAS):
            continue
        if graph.is_float(t) and not graph.is_constant(t) and t not in integer and t not in ranges:
            return graph.name(t)
    for position, t in enumerate(op.outputs):
        if _needs_range(spec.output(position), choice) and graph.is_float(t) and t not in ranges:
            return graph.name(t)
    return None


def _needs_range(operand: Operand | None, choice: Choice) -> bool:
    """Whether an output's parameters come from its own range."""
    if operand is None or operand.role is Role.INDEX or choice.dtype in operand.fixed:
        return False
    return choice.tie in (Tie.NONE, Tie.OUTPUT)


def calibrated_ranges(
    graph: Graph, calibration: Mapping[TensorKey, Stats] | None
) -> dict[int, Stats]:
    """The calibrated ranges of a subgraph, by tensor."""
    found: dict[int, Stats] = {}
    for t in range(len(graph.tensors)):
        stats = calibration.get(graph.key(t)) if calibration is not None else None
        if stats is not None and np.size(stats.lo):
            found[t] = stats
    return found
