"""Parameters and stored forms of constants: weights, biases, and data in an activation's place.

Sources: LiteRT converter/quantization/common/quantization_lib/tfl_quantization_driver.cc
(SetConstantResultParams, SetBiasParamsWithAdjustments), quantization_utils.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from kernels import scales
from kernels.opspec import Operand, Product, Role
from kernels.ranges import IntRange
from qcore.errors import BadRecipe
from qcore.params import Affine
from qcore.plan import common
from qcore.plan.mlir.problem import Grid, Problem
from qcore.plan.values import Form
from qcore.recipe import Setting
from qcore.rounding import Bias, Nearest, Rounding
from qcore.schemes import MinMax


@dataclass(frozen=True)
class BiasGrids:
    """bias: its parameters.  weight: what becomes of that at `weight_position` if it must grow."""

    bias: Grid
    weight: Coarser | None = None
    weight_position: int = -1


@dataclass(frozen=True)
class Coarser:
    """A weight whose scale a bias has raised. rounding: how it is encoded, None as it was."""

    grid: Grid
    rounding: Rounding | None = None


# --- weights --------------------------------------------------------------------------------------


def weight_use(problem: Problem, tensor: int) -> tuple[int, int]:
    """(operator, position) of the read that decides how a constant is quantized.

    A constant read as a weight is one for all its readers.
    """
    graph = problem.graph
    uses = [
        (i, p)
        for i, p in graph.readers[tensor]
        if problem.role(i, p) is not Role.BIAS and not problem.tied(i)
    ]
    return next(((i, p) for i, p in uses if problem.role(i, p) is Role.WEIGHT), uses[0])


def own_use(problem: Problem, operator: int, position: int) -> bool:
    """Whether a constant is to be quantized for this read alone, since another reader wants it as
    something else: the converter hands per-channel weights to both (deviation shared_weights). What
    an island of int16 reads as an activation is never that of the others."""
    tensor = problem.graph.operators[operator].inputs[position]
    if len(problem.graph.readers[tensor]) == 1:
        return False

    def wide(use: tuple[int, int]) -> bool:
        return problem.wide(use[0]) and problem.role(*use) is Role.ACTIVATION

    if problem.islands and wide((operator, position)) != wide(weight_use(problem, tensor)):
        return True
    if not problem.recipe.deviates("shared_weights"):
        return False

    def kind(use: tuple[int, int]) -> tuple[Role | None, int | None]:
        spec = problem.specs[use[0]]
        operand = spec.operand(use[1]) if spec else None
        return problem.role(*use), operand.axis if operand else None

    return kind((operator, position)) != kind(weight_use(problem, tensor))


def weight_form(problem: Problem, tensor: int, use: tuple[int, int]) -> Form:
    """A constant on its own range: a weight symmetric, data as an activation, zero included."""
    operator, position = use
    spec = problem.specs[operator]
    operand = spec.operand(position) if spec else None
    found = problem.setting(operator, position)
    if operand is not None and operand.role is Role.WEIGHT:
        found = replace(found, dtype=operand.dtype or found.dtype)
        if operand.bits is not None:
            return _few_bits(problem, tensor, found, operand.bits)
        return common.constant_form(problem.graph, tensor, found, operand.axis)
    return common.constant_form(problem.graph, tensor, _for_constant(found), None)


def _few_bits(problem: Problem, tensor: int, found: Setting, bits: int) -> Form:
    """A weight that leaves bits of its type unused, like SVDF's time weights: int16 in +-512."""
    q = IntRange(-(2 ** (bits - 1)), 2 ** (bits - 1), np.dtype(found.dtype))
    return common.constant_form(problem.graph, tensor, replace(found, granularity=None), None, q=q)


def _for_constant(found: Setting) -> Setting:
    """The scheme of activations as the converter applies it to constants (E6)."""
    if isinstance(found.scheme, MinMax) and found.scheme.widen == "activation":
        return replace(found, scheme=replace(found.scheme, widen="constant"))
    return found


def weight_grid(problem: Problem, tensor: int, use: tuple[int, int]) -> Grid:
    """The parameters of `weight_form`."""
    form = weight_form(problem, tensor, use)
    assert form.params is not None
    return Grid(form.dtype, form.params, form.rule, form.stats)


# --- biases ---------------------------------------------------------------------------------------


def product(problem: Problem, operator: int, operand: Operand) -> Product | None:
    """Which scales a bias's is made of, by what the operator has."""
    spec, op = problem.specs[operator], problem.graph.operators[operator]
    assert spec is not None

    def present(name: str) -> bool:
        at = spec.position(name)
        return at < len(op.inputs) and op.inputs[at] >= 0

    for candidate in operand.scale:
        if candidate.given is None or present(candidate.given):
            return candidate
    return None


def bias_grid(
    problem: Problem, operator: int, position: int, grids: Mapping[int, Grid | None]
) -> BiasGrids | None:
    """Scale = product of the scales that the accumulator has; None while one of them is missing.

    Where an integer would leave half of int32, the scales of bias and weight grow (E14).
    """
    graph, spec = problem.graph, problem.specs[operator]
    operand = spec.operand(position) if spec else None
    tensor = graph.operators[operator].inputs[position]
    if operand is None or spec is None:
        return None
    made_of = product(problem, operator, operand)
    if made_of is None or not graph.is_constant(tensor):
        return None
    names = [o.name for o in spec.inputs]
    at = [names.index(name) for name in made_of.operands if name in names]
    factors = [grids.get(p) for p in at]
    inner = [i for i, o in enumerate(spec.intermediates) if o.name in made_of.operands]
    factors += [_intermediate(problem, operator, i) for i in inner]
    if any(g is None for g in factors):
        return None
    exact = np.full(1, made_of.factor)
    for grid in factors:
        assert grid is not None
        exact = exact * grid.params.scale.astype(np.float64)
    scale = exact.astype(np.float32)
    setting = problem.setting(operator, position)
    dtype = operand.dtype or setting.dtype
    if dtype is None:
        raise BadRecipe(f"no rule gives bias {graph.name(tensor)!r} a dtype; add one for biases")
    rule = " x ".join(made_of.operands)
    bias = Grid(dtype, _bias_params(scale), rule)
    return _guarded(problem, operator, tensor, bias, at, grids)


def _intermediate(problem: Problem, operator: int, index: int) -> Grid | None:
    """The parameters of an LSTM's intermediate tensor."""
    tensors = problem.graph.operators[operator].intermediates or ()
    return problem.given(tensors[index]) if index < len(tensors) else None


def _bias_params(scale: np.ndarray) -> Affine:
    return Affine(scale, np.zeros(scale.shape, np.int64), 0 if scale.size > 1 else None)


def _guarded(
    problem: Problem,
    operator: int,
    tensor: int,
    bias: Grid,
    at: list[int],
    grids: Mapping[int, Grid | None],
) -> BiasGrids:
    """The parameters after the guard against overflow, which acts on 8-bit operators only, and of
    these on those whose weights may have channels."""
    weights = [p for p in at if problem.role(operator, p) is Role.WEIGHT]
    others = [p for p in at if p not in weights]
    inputs = problem.graph.operators[operator].inputs
    if len(weights) != 1 or len(others) != 1 or bias.dtype != "int32":
        return BiasGrids(bias)
    weight, data = grids[weights[0]], grids[others[0]]
    assert weight is not None and data is not None
    spec = problem.specs[operator]
    operand = spec.operand(weights[0]) if spec else None
    if operand is None or operand.axis is None or not problem.graph.is_constant(inputs[weights[0]]):
        return BiasGrids(bias)
    if weight.dtype != "int8" or data.dtype not in ("int8", "uint8"):
        return BiasGrids(bias)
    values = problem.graph.constant(tensor)
    assert values is not None
    guard = scales.bias_guard_mlir(
        values.reshape(-1),
        float(data.params.scale[0]),
        weight.params.scale,
        per_tensor=weight.params.groups == 1,
    )
    if not guard.raised.any():
        return BiasGrids(bias)
    raised = int(np.count_nonzero(guard.raised))
    rule = f"{weight.rule}, {raised} of {guard.raised.size} scales raised for the bias"
    params = replace(weight.params, scale=guard.weight_scale)
    rounding = None
    if guard.raised.size == 1 and not problem.recipe.deviates("raised_weights"):
        # With one scale the converter falls back to per-tensor parameters and keeps the integers of
        # the lower scale, unless the two differ by more than 1e-3.
        params = replace(params, axis=None)
        if abs(float(weight.params.scale[0]) - float(params.scale[0])) > 1e-3:
            rounding = Nearest()
    elif guard.raised.size == 1:
        rounding = Nearest()
    bias = replace(bias, params=_bias_params(guard.bias_scale))
    coarser = Coarser(replace(weight, params=params, rule=rule), rounding)
    return BiasGrids(bias, coarser, weights[0])


def bias_form(problem: Problem, operator: int, position: int, grid: Grid) -> Form:
    """The stored integers of a bias."""
    graph = problem.graph
    tensor = graph.operators[operator].inputs[position]
    setting = problem.setting(operator, position)
    form = placed_form(problem, tensor, grid, common.int_range(grid.dtype, False, "a bias"))
    saturated = form.saturated or 0
    note = f"{saturated} saturated" if saturated else form.note
    return form.replace(rounding=setting.rounding or Bias(), note=note)


# --- constants on given parameters ----------------------------------------------------------------


def placed_form(problem: Problem, tensor: int, grid: Grid, q: IntRange) -> Form:
    """A constant on parameters that others decided; the rounding is for the caller to set."""
    values = problem.graph.constant(tensor)
    assert values is not None
    stats = common.stats_of(problem.graph, tensor, grid.params.axis if values.ndim else None)
    return Form(
        tensor=tensor,
        dtype=grid.dtype,
        params=grid.params,
        rule=grid.rule,
        stats=stats,
        range=q,
        saturated=common.saturation(values, stats, grid.params, q),
    )


def operand_form(problem: Problem, operator: int, position: int, grid: Grid) -> Form:
    """A constant operand of a tied operator, straight on the operator's parameters."""
    tensor = problem.graph.operators[operator].inputs[position]
    q = common.int_range(grid.dtype, False, "a constant")
    form = placed_form(problem, tensor, grid, q)
    return form.replace(rounding=problem.constant_rounding(operator, position))
