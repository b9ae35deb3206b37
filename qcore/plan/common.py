"""What every planner needs: the plan that changes nothing, constants, and remarks for a person."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

import tflite_schema as ts
from kernels import ranges, reductions, scales
from kernels.errors import KernelError
from kernels.opspec import Role
from kernels.ranges import IntRange
from kernels.threads import MOST, cores, in_order
from qcore.errors import BadRecipe, BadStatistics, QcoreError, failure
from qcore.granularity import Granularity
from qcore.graph import Graph
from qcore.params import Affine, Stats
from qcore.plan import distribution
from qcore.plan.values import Form, Step, SubgraphPlan
from qcore.recipe import Recipe, Setting
from qcore.schemes.base import Scheme

SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)
STATS_BYTES = 1 << 22  # of a constant read before its pages are given back
HUGE = 1e36  # from here on products of two scales leave float32


def dtype_of(tensor: ts.Tensor) -> str:
    """The schema's name of a tensor's type, in lower case."""
    return ts.TensorType(tensor.type).name.lower()


def float_plan(graph: Graph) -> SubgraphPlan:
    """The plan that changes nothing: form i is tensor i, every operator stays."""
    forms = tuple(Form(tensor=i, dtype=dtype_of(t)) for i, t in enumerate(graph.tensors))
    steps = tuple(kept_step(graph, i) for i in range(len(graph.operators)))
    return SubgraphPlan(forms, steps, graph.inputs, graph.outputs)


def kept_step(graph: Graph, operator: int) -> Step:
    """The operator as it is, on forms numbered like its tensors."""
    op = graph.operators[operator]
    computes = any(graph.is_float(t) for t in (*op.inputs, *op.outputs))
    return Step(
        source=operator,
        name=op.name,
        version=op.code.version,
        inputs=tuple(op.inputs),
        outputs=tuple(op.outputs),
        intermediates=tuple(op.intermediates or ()),
        mode="float32" if computes else "kept",
    )


def is_wide(graph: Graph, recipe: Recipe, operator: int) -> bool:
    """Whether the recipe's mode of an operator is int16x8."""
    if all(rule.mode != "int16x8" for rule in recipe.rules):
        return False
    return recipe.mode(graph.operators[operator].name, graph.output_names(operator)) == "int16x8"


def setting(
    graph: Graph, recipe: Recipe, operator: int, position: int, wide: bool | None = None
) -> Setting:
    """What the recipe says of the operand at an input position of an operator.

    wide: whether it is for int16 activations; None: where the operator's mode is int16x8.
    """
    op, operand = graph.operators[operator], graph.operand(operator, position)
    role = operand.role.value if operand else "activation"
    name, tensor = operand.name if operand else "", op.inputs[position]
    constant = role == "activation" and graph.is_constant(tensor)
    outputs = graph.output_names(operator) if role in ("weight", "bias") else ()
    if wide is None:
        wide = is_wide(graph, recipe, operator)
    return recipe.setting(op.name, role, name, graph.name(tensor), constant, outputs, wide)


def output_setting(
    graph: Graph, recipe: Recipe, operator: int, position: int = 0, wide: bool | None = None
) -> Setting:
    """What the recipe says of an output of an operator; wide: as for `setting`."""
    op, spec = graph.operators[operator], graph.spec(operator)
    operand = spec.output(position) if spec else None
    if wide is None:
        wide = is_wide(graph, recipe, operator)
    name = operand.name if operand else ""
    return recipe.setting(op.name, "activation", name, graph.name(op.outputs[position]), wide=wide)


def activation_setting(recipe: Recipe, name: str, wide: bool = False) -> Setting:
    """What the recipe says of an activation that no operator writes, such as a graph input."""
    return recipe.setting("INPUT", "activation", "input", name, wide=wide)


def is_entry(graph: Graph) -> bool:
    """Whether a caller of the model sees the subgraph's inputs and outputs.

    The first subgraph and those with a signature are entries; others are called by operators,
    whose operands stay float.
    """
    signatures = {s.subgraph_index for s in graph.model.signature_defs or ()}
    return graph.subgraph == 0 or graph.subgraph in signatures


def int_range(dtype: str | None, narrow: bool, what: str) -> IntRange:
    """The range of an integer type by name; narrow leaves out the lowest integer."""
    key = f"{dtype}_narrow" if narrow else f"{dtype}"
    if key not in ranges.NAMED:
        raise BadRecipe(
            f"{what} cannot be quantized to {dtype!r}; use one of "
            + ", ".join(n for n in ranges.NAMED if "_" not in n)
        )
    return ranges.NAMED[key]


def choose(scheme: Scheme, stats: Stats, q: IntRange, what: str, axis: int | None = None) -> Affine:
    """The scheme's parameters for `stats`, checked: one group each, storable, zero in range.

    Raises BadStatistics naming the tensor where the range or what the scheme made of it cannot be
    stored; scales that are infinite or denormal pass, since TFLite's converter writes them too
    (`degenerate` remarks on them).
    """
    _check_range(stats, what)
    if scheme.needs == "histogram" and stats.extra is None:
        raise BadStatistics(
            f"scheme {scheme.key!r} needs the histogram of {what}, of which only the range is "
            "known; calibrate with the observer 'histogram'"
        )
    params = _chosen(scheme, stats, q, what)
    _check_params(scheme, stats, q, what, params)
    return Affine(params.scale, params.zero_point, axis)


def _chosen(scheme: Scheme, stats: Stats, q: IntRange, what: str) -> Affine:
    """What the scheme gives. Raises BadStatistics where a user's own fails, or gives no Affine."""
    try:
        params = scheme.choose(stats, q)
    except (QcoreError, KernelError, MemoryError):
        raise
    except Exception as error:
        if type(scheme).__module__.startswith("qcore."):
            raise  # a defect of ours, which is to be seen
        raise BadStatistics(
            f"scheme {scheme.key!r} failed on {what} with {failure(error)}; mend it"
        ) from error
    if not isinstance(params, Affine):
        raise BadStatistics(
            f"scheme {scheme.key!r} gave a {type(params).__name__} for {what}; it must give an "
            "Affine"
        )
    return params


def choose_constant(
    graph: Graph,
    tensor: int,
    scheme: Scheme,
    stats: Stats,
    q: IntRange,
    axis: int | None = None,
    block: int = 0,
) -> Affine:
    """`choose` for a constant, whose values are read again where the scheme needs their histogram.

    stats: its ranges, by the slices of an axis, or of blocks of its rows (the result has axis 0).
    """
    what = f"constant {graph.name(tensor)!r}"
    if scheme.needs == "range":
        return choose(scheme, stats, q, what, axis)
    record = graph.tensors[tensor]
    key = (record.buffer, record.shape, axis, block, scheme, q)
    found = graph.ranges.get(key)
    if found is None:
        _check_range(stats, what)
        values = graph.constant(tensor)
        assert values is not None
        if block:
            values = values.reshape(-1, block)
        parts = distribution.parts(values, axis, stats)
        made = list(in_order(lambda part: choose(scheme, part, q, what), parts, min(cores(), 4)))
        scale = np.concatenate([m.scale for m in made])
        zero_point = np.concatenate([m.zero_point for m in made])
        found = graph.ranges[key] = Affine(scale, zero_point, axis)
    assert isinstance(found, Affine)
    return found


def _check_range(stats: Stats, what: str) -> None:
    if not (np.isfinite(stats.lo) & np.isfinite(stats.hi) & (stats.lo <= stats.hi)).all():
        raise BadStatistics(
            f"{what} has the range [{stats.lo.min()}, {stats.hi.max()}], which no scale can stand "
            "for; look for NaN or infinity in the model or the samples"
        )


def _check_params(scheme: Scheme, stats: Stats, q: IntRange, what: str, params: Affine) -> None:
    if params.groups != stats.groups:
        raise BadStatistics(
            f"scheme {scheme.key!r} made {params.groups} scales for the {stats.groups} groups of "
            f"{what}; it must make one for each group"
        )
    if np.isnan(params.scale).any() or (params.scale < 0).any():
        worst = params.scale[~(params.scale >= 0)][0]
        raise BadStatistics(
            f"scheme {scheme.key!r} made the scale {worst} for {what}; a scale must be a positive "
            "number"
        )
    # A range so small that its scale leaves float32 may have scale 0, as the converter's has.
    width = np.maximum(stats.hi, 0.0) - np.minimum(stats.lo, 0.0)
    if ((params.scale == 0) & (width >= 256 * SMALLEST_NORMAL)).any():
        raise BadStatistics(
            f"scheme {scheme.key!r} made the scale 0 for {what}, whose range is wider; a scale must"
            " be a positive number"
        )
    if (params.zero_point < q.qmin).any() or (params.zero_point > q.qmax).any():
        worst = params.zero_point[np.argmax(np.abs(params.zero_point))]
        raise BadStatistics(
            f"scheme {scheme.key!r} made the zero point {worst} for {what}; it must be in {q}"
        )


def stats_of(graph: Graph, tensor: int, axis: int | None) -> Stats:
    """`constant_stats` of a constant of the graph, read from the file once."""
    record = graph.tensors[tensor]
    key = (record.buffer, record.shape, axis)
    found = graph.ranges.get(key)
    if found is None:
        values = graph.constant(tensor)
        assert values is not None
        found = graph.ranges[key] = constant_stats(values, axis)
    assert isinstance(found, Stats)
    return found


def constant_stats(values: np.ndarray, axis: int | None) -> Stats:
    """Range of a constant, per tensor (axis None) or of each slice of an axis, in one pass.

    A large constant is read in slices along its first axis, by as many threads as there are cores,
    and the mapped pages behind each are given back, so that memory does not grow with the model.
    """
    groups = 1 if axis is None else values.shape[axis]
    count = values.size // max(1, groups)
    if axis is None:
        values = values.reshape(-1)
    elif axis > 0:
        before, after = values.shape[:axis], values.shape[axis + 1 :]
        values, axis = values.reshape(prod(before), groups, prod(after)), 1

    def extremes(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = reductions.min_max(part, axis)
        ts.release(part)
        return found

    step = max(1, len(values) * STATS_BYTES // max(1, values.nbytes))
    slices = [values[start : start + step] for start in range(0, len(values), step)] or [values]
    lows, highs = zip(*in_order(extremes, slices, min(cores(), MOST, len(slices))))
    if axis == 0:
        return Stats(np.concatenate(lows), np.concatenate(highs), count)
    return Stats(np.minimum.reduce(lows), np.maximum.reduce(highs), count)


def weight_form(
    graph: Graph, recipe: Recipe, operator: int, position: int, axis: int | None
) -> Form:
    """The quantized form of a weight by the recipe; axis: its channels, None if it has none.

    Raises BadRecipe where no dtype or scheme is set for it.
    """
    tensor = graph.operators[operator].inputs[position]
    found = setting(graph, recipe, operator, position)
    return constant_form(graph, tensor, found, axis)


def constant_form(
    graph: Graph,
    tensor: int,
    found: Setting,
    axis: int | None,
    stats: Stats | None = None,
    q: IntRange | None = None,
) -> Form:
    """The quantized form of a constant on its own range, or on `stats` where they are given.

    q: the integers to use, by default those of the setting's dtype.
    """
    what = f"constant {graph.name(tensor)!r}"
    if found.scheme is None or found.dtype is None:
        raise BadRecipe(f"no rule gives {what} a scheme and a dtype; add one for its operand")
    values = graph.constant(tensor)
    assert values is not None, f"{what} has no data"
    by = axis_of(found.granularity, axis, values, what)
    own = stats_of(graph, tensor, by)
    stats = own if stats is None else stats
    if q is None:
        q = int_range(found.dtype, found.scheme.takes_narrow, what)
    if found.scheme.needs == "range":
        params = choose(found.scheme, stats, q, what, by)
    else:
        params = choose_constant(graph, tensor, found.scheme, own, q, by)
        params = _widened(params, own, stats, q)
    notes = [degenerate(stats, params)]
    if found.granularity is not None and found.granularity.kind == "blockwise":
        whole = "per tensor" if by is None else "per channel"
        notes.insert(0, f"{whole}: integer kernels take no blocks")
    return Form(
        tensor=tensor,
        dtype=found.dtype,
        params=params,
        rule=found.scheme.key,
        stats=stats,
        range=q,
        rounding=found.rounding or found.scheme.rounding,
        note="; ".join(filter(None, notes)) or None,
        saturated=saturation(values, stats, params, q),
    )


def _widened(params: Affine, own: Stats, stats: Stats, q: IntRange) -> Affine:
    """Scales of the range `stats` where it is not the constant's own: a bias has asked for it."""
    other = (stats.lo != own.lo) | (stats.hi != own.hi)
    wide = scales.symmetric_legacy(np.maximum(-stats.lo, stats.hi), q)
    return replace(params, scale=np.where(other, wide, params.scale))


def mended(params: Affine, q: IntRange) -> tuple[Affine, str | None]:
    """Positive, normal scales in place of zero and denormal ones, and what was done."""
    bad = params.scale < SMALLEST_NORMAL
    if not bad.any():
        return params, None
    neutral = np.float32(1.0 / q.qmax)
    filler = neutral if bad.all() else params.scale[~bad].max()
    scale = np.where(bad, filler, params.scale).astype(np.float32)
    zero_point = np.where(bad, max(q.qmin, 0), params.zero_point)
    which = "the range [-1, 1]" if bad.all() else "the largest scale of its other channels"
    return Affine(scale, zero_point, params.axis), f"given {which}"


def mended_form(form: Form) -> Form:
    """A constant's form with such scales; what those groups hold is nothing in steps of them."""
    assert form.params is not None and form.stats is not None and form.range is not None
    params, note = mended(form.params, form.range)
    if note is None:
        return form
    bad = form.params.scale < SMALLEST_NORMAL
    stats = replace(
        form.stats, lo=np.where(bad, 0.0, form.stats.lo), hi=np.where(bad, 0.0, form.stats.hi)
    )
    says = "; ".join(n for n in (form.note, note) if n)
    return form.replace(params=params, stats=stats, note=says)


def axis_of(
    granularity: Granularity | None, axis: int | None, values: np.ndarray, what: str
) -> int | None:
    """The axis to group by, None for the whole tensor."""
    if granularity is None or granularity.kind == "per_tensor" or values.ndim == 0:
        return None
    if granularity.axis is not None:
        if not granularity.axis < values.ndim:
            raise BadRecipe(
                f"granularity {granularity} names an axis that {what} of {values.ndim} dimensions "
                "does not have"
            )
        return granularity.axis
    return axis


# Operators whose integer kernels take packed int4 weights; DEPTHWISE 16x4 computes noise.
INT4_WEIGHTS = {
    "int8": ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"),
    "int16x8": ("CONV_2D", "FULLY_CONNECTED"),
}


def widened(params: Affine) -> Affine | None:
    """The int16 parameters in which each step of an int8 value is 128 steps, so that nothing is
    rounded or clipped: 255 of these are 32640. None where the scale would be denormal."""
    scale = params.scale / np.float32(128)
    if (scale < SMALLEST_NORMAL).any():
        return None
    return Affine(scale, np.zeros(scale.shape, np.int64))


def reach(params: Affine, dtype: str) -> Stats:
    """The range of all values that int16 of these parameters stand for, the same on both sides."""
    most = params.scale.astype(np.float64) * int_range(dtype, True, "a value").qmax
    return Stats(-most, most)


# The type that a kernel adds its bias in, also where there is none, is an option of these.
BIAS_TYPE_OPTION = ("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def wide_options(name: str, bias: str = "int64") -> dict[str, Any]:
    """Fields of the builtin options that the kernel of an operator on int16 activations reads."""
    if name in BIAS_TYPE_OPTION:
        return {"quantized_bias_type": bias.upper()}
    return {"pot_scale_int16": False} if name in ("ADD", "SUB") else {}


def check_activations(graph: Graph, part: SubgraphPlan) -> None:
    """Raises BadRecipe where rules give computed activations of one operator different types, or
    int16 with a zero point."""
    for step in part.steps:
        if step.source is None or step.mode not in INT4_WEIGHTS:
            continue
        spec = graph.spec(step.source)
        assert spec is not None
        ends = [(f, spec.operand(p)) for p, f in enumerate(step.inputs)]
        ends += [(f, spec.output(p)) for p, f in enumerate(step.outputs)]
        forms = [
            part.forms[f]
            for f, operand in ends
            if f >= 0 and operand is not None and operand.role is Role.ACTIVATION
        ]
        dtypes = {f.dtype for f in forms if f.params is not None and f.rounding is None}
        if len(dtypes) > 1:
            raise BadRecipe(
                f"the rules give activations of {graph.where(step.source)} the types "
                f"{' and '.join(sorted(dtypes))}, which no kernel takes together; to compute a "
                'few operators in int16, give them mode = "int16x8" instead of a dtype'
            )
        if any(f.params and f.dtype == "int16" and f.params.zero_point.any() for f in forms):
            raise BadRecipe(
                f"the rules give int16 activations of {graph.where(step.source)} a zero point, "
                "which no kernel takes; give them a symmetric scheme, or a few operators "
                'mode = "int16x8" instead of a dtype'
            )


def check_weights(graph: Graph, recipe: Recipe, part: SubgraphPlan) -> None:
    """Raises BadRecipe where a rule asks for weights that no kernel of an integer operator takes.

    Integer kernels take symmetric int8 weights, a few of them int4, and what an operand's SPEC
    says; other types fail when the file is prepared, or compute noise.
    """
    for step in part.steps:
        if step.source is None or step.mode not in INT4_WEIGHTS:
            continue
        for position, number in enumerate(step.inputs):
            operand = graph.operand(step.source, position)
            if number < 0 or operand is None or operand.role is not Role.WEIGHT:
                continue
            form = part.forms[number]
            asked = setting(graph, recipe, step.source, position).dtype
            if form.rounding is None or form.params is None or form.dtype != asked:
                continue  # computed, or not as the rules say: the planner's own choice
            what = f"weight {graph.name(form.tensor)!r} of {graph.where(step.source)}"
            packed = form.dtype == "int4" and step.name in INT4_WEIGHTS[step.mode]
            if form.dtype != "int8" and not packed:
                raise BadRecipe(
                    f"{what} is to be {form.dtype}, which no {step.mode} kernel of it takes; use "
                    f"int8, or int4 in {', '.join(INT4_WEIGHTS[step.mode])}"
                )
            if form.params.zero_point.any():
                raise BadRecipe(
                    f"{what} has zero points other than 0, which no integer kernel takes; give "
                    "weights a symmetric scheme"
                )


def saturation(values: np.ndarray, stats: Stats, params: Affine, q: IntRange) -> int:
    """How many values of a constant lie beyond the ends of the integer range by half a step.

    A pass over the values is made only where the range says that there are any, in slices.
    """
    scale, zero_point = params.scale.astype(np.float64), params.zero_point
    with np.errstate(over="ignore", invalid="ignore"):
        low = (q.qmin - 0.5 - zero_point) * scale
        high = (q.qmax + 0.5 - zero_point) * scale
        if ((stats.lo >= low) & (stats.hi <= high)).all():
            return 0
    low, high = low.astype(np.float32), high.astype(np.float32)
    if params.axis is None or values.ndim == 0:
        shape = (values.size, 1, 1)
    else:
        before, after = values.shape[: params.axis], values.shape[params.axis + 1 :]
        shape = (prod(before), values.shape[params.axis], prod(after))
    values = values.reshape(shape)
    along = 0 if shape[0] > 1 else 1
    step = max(1, shape[along] * STATS_BYTES // max(1, values.nbytes))
    found = 0
    for start in range(0, shape[along], step):
        span = slice(start, start + step)
        part = values[span] if along == 0 else values[:, span]
        low_at, high_at = (e[span if along else ...].reshape(1, -1, 1) for e in (low, high))
        found += int(np.count_nonzero((part < low_at) | (part > high_at)))
        ts.release(part)
    return found


def degenerate(stats: Stats, params: Affine | None = None) -> str | None:
    """A remark where a range is all zero, a single value, tiny or huge; None where it is not."""
    lo, hi = np.minimum(stats.lo, 0.0), np.maximum(stats.hi, 0.0)
    width = hi - lo
    groups = stats.groups
    remarks = []

    def say(mask: np.ndarray, one: str, many: str) -> None:
        count = int(np.count_nonzero(mask))
        if count:
            remarks.append(one if groups == 1 else f"{count} of {groups} channels {many}")

    zero = width == 0
    say(zero, "all zero", "all zero")
    say(~zero & (stats.lo == stats.hi), "a single value", "a single value")
    tiny = ~zero & (width < 256 * SMALLEST_NORMAL)
    say(tiny, "denormal range", "with a denormal range")
    say(width >= HUGE, "huge range", "with a huge range")
    if params is not None:
        say(~np.isfinite(params.scale), "scale is infinite", "with an infinite scale")
    return "; ".join(remarks) or None
