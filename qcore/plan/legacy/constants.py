"""Weights, biases, and constants in an activation's place, as rules B store them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kernels import scales
from kernels.opspec import OpSpec, Role, Tie
from kernels.ranges import IntRange
from qcore.errors import CannotQuantize
from qcore.graph import Graph
from qcore.params import Affine, Stats
from qcore.plan import common
from qcore.plan.legacy.guard import range_key
from qcore.plan.values import Form
from qcore.recipe import Setting
from qcore.rounding import Bias

if TYPE_CHECKING:
    from qcore.plan.legacy.draft import Draft

BIAS_DTYPE = {"int8": "int32", "int16": "int64"}


def operand(draft: Draft, i: int, position: int, dtype: str, tie: Tie) -> Form:
    """The form in which operator i wants the constant at an input position."""
    graph, spec = draft.graph, draft.graph.spec(i)
    t = graph.operators[i].inputs[position]
    wanted = spec.operand(position) if spec is not None else None
    found = common.setting(graph, draft.recipe, i, position)
    axis = None
    if wanted is not None and wanted.role is Role.WEIGHT:
        if wanted.dtype is not None:
            found = replace(found, dtype=wanted.dtype)
        axis = wanted.axis
    else:
        narrow = dtype == "int16" and not draft.reads_as_activation(i, tie)
        found = replace(found, dtype="int8" if narrow else dtype, granularity=None)
    values = graph.constant(t)
    assert values is not None
    by = common.axis_of(found.granularity, axis, values, graph.name(t))
    guarded, raised = draft.weight_ranges.get(range_key(t, by, values), (None, False))
    weight = wanted is not None and wanted.role is Role.WEIGHT
    if not weight and (draft.recipe.deviates("constant_per_use") or found.dtype != "int8"):
        guarded, raised = None, False  # data has its own range
    bits = None if wanted is None else wanted.bits
    form = _form(graph, t, found, axis, guarded, _bits(bits, found.dtype))
    return _mended(draft, form, "range raised for the bias" if raised else None)


def _form(
    graph: Graph, t: int, found: Setting, axis: int | None, stats: Stats | None, q: IntRange | None
) -> Form:
    """constant_form, also for channels that the guard raised beyond all float32 numbers.

    The older quantizer gives these an infinite scale and integers 0.
    """
    if stats is None or (finite := np.isfinite(stats.hi)).all():
        return common.constant_form(graph, t, found, axis, stats, q)
    largest = float(np.finfo(np.float32).max)
    bounded = replace(stats, lo=np.maximum(stats.lo, -largest), hi=np.minimum(stats.hi, largest))
    form = common.constant_form(graph, t, found, axis, bounded, q)
    assert form.params is not None
    scale = np.where(finite, form.params.scale, np.float32(np.inf))
    params = Affine(scale, form.params.zero_point, form.params.axis)
    note = common.degenerate(bounded, params)
    return form.replace(params=params, stats=stats, note=note)


def _bits(bits: int | None, dtype: str | None) -> IntRange | None:
    """Ten bits of int16 are counted as 512 steps a side, one more than two's complement has."""
    if bits is None:
        return None
    half = 1 << (bits - 1)
    return IntRange(-half, half, np.dtype(dtype))


def _mended(draft: Draft, form: Form, note: str | None) -> Form:
    """The form without zero and denormal scales, where the recipe deviates there."""
    assert form.params is not None and form.stats is not None and form.range is not None
    if form.params.axis is None and form.dtype == "int8" and form.params.scale[0] == 0:
        # The older quantizer itself: a tensor of zeros counts in steps of one.
        form = form.replace(params=Affine.of(1.0))
    says = "; ".join(n for n in (form.note, note) if n) or None
    form = form.replace(note=says)
    return common.mended_form(form) if draft.recipe.deviates("zero_scale") else form


# --- biases ---------------------------------------------------------------------------------------


def bias_dtype(draft: Draft, i: int, dtype: str) -> str:
    """Type of an operator's bias, also of one that is absent."""
    spec, op = draft.graph.spec(i), draft.graph.operators[i]
    assert spec is not None
    found = None
    for position, wanted in enumerate(spec.inputs):
        if wanted.role is Role.BIAS:
            there = position < len(op.inputs) and op.inputs[position] >= 0
            name = draft.graph.name(op.inputs[position]) if there else ""
            wide = common.is_wide(draft.graph, draft.recipe, i)
            found = draft.recipe.setting(op.name, "bias", wanted.name, name, wide=wide).dtype
    if found is None or (found == "int64" and dtype == "int8"):
        return BIAS_DTYPE.get(dtype, "int32")
    return found


def biases(draft: Draft) -> None:
    """Gives every integer operator's bias its form; steps are replaced where a copy is needed."""
    data = _read_as_data(draft.graph)
    copies: dict[int, int] = {}
    for at, step in enumerate(draft.steps):
        if step.source is None or draft.choices[step.source].dtype is None:
            continue
        spec = draft.graph.spec(step.source)
        assert spec is not None
        inputs = list(step.inputs)
        for position, f in enumerate(step.inputs):
            wanted = spec.operand(position)
            if f < 0 or wanted is None or wanted.role is not Role.BIAS:
                continue
            if draft.graph.is_constant(f) and draft.graph.is_float(f):
                inputs[position] = _bias(draft, step.source, position, inputs, data, copies)
        draft.steps[at] = step.replace(inputs=tuple(inputs))


def _bias(
    draft: Draft, i: int, position: int, inputs: list[int], data: set[int], copies: dict[int, int]
) -> int:
    t = draft.graph.operators[i].inputs[position]
    made = _bias_form(draft, i, position, inputs)
    if t in data:  # the same constant is also data: the older quantizer copies it for each bias
        copies[t] = copies.get(t, 0) + 1
        return draft.add(made.replace(name=f"{draft.graph.name(t)}_duplicate_{copies[t]}"))
    key = (t, "bias", made.dtype, made.params)
    if key in draft.constants:
        return draft.constants[key]
    taken = draft.forms[t].quantized
    if taken and not draft.recipe.deviates("constant_per_use"):
        return t
    if taken or (t in draft.float_read and draft.recipe.deviates("float_readers")):
        copies[t] = copies.get(t, 0) + 1
        at = draft.add(made.replace(name=f"{draft.graph.name(t)}_duplicate_{copies[t]}"))
    else:
        at, draft.forms[t] = t, made
    draft.constants[key] = at
    return at


def _bias_form(draft: Draft, i: int, position: int, inputs: list[int]) -> Form:
    graph, spec = draft.graph, draft.graph.spec(i)
    assert spec is not None
    t = graph.operators[i].inputs[position]
    scale, axis = _bias_scale(draft, i, spec, position, inputs)
    dtype = bias_dtype(draft, i, draft.choices[i].dtype or "int8")
    name = graph.name(t)
    found = draft.recipe.setting(spec.name, "bias", spec.inputs[position].name, name)
    q = common.int_range(dtype, False, f"bias {name!r}")
    values = graph.constant(t)
    assert values is not None
    params = Affine(scale, np.zeros(scale.size, np.int64), axis)
    stats = common.stats_of(graph, t, axis if scale.size > 1 else None)
    saturated = common.saturation(values, stats, params, q)
    if (dead := np.count_nonzero((scale == 0) & (np.maximum(-stats.lo, stats.hi) > 0))) > 0:
        saturated = max(saturated, int(dead))
    note = f"{saturated} of {values.size} values saturate" if saturated else None
    return Form(
        t,
        dtype,
        params,
        rule="bias = input x weight",
        stats=stats,
        range=q,
        rounding=found.rounding or Bias(),
        note=note,
        saturated=saturated,
    )


def _bias_scale(
    draft: Draft, i: int, spec: OpSpec, position: int, inputs: list[int]
) -> tuple[np.ndarray, int | None]:
    """Scale of a bias from those of other operands (E12), and the axis of its channels."""
    wanted = spec.inputs[position]
    places = spec.weight_and_bias
    if places is not None and spec.data is not None and spec.name != "SVDF":
        data, weight = (draft.forms[inputs[p]].params for p in (spec.data, places[0]))
        assert data is not None and weight is not None
        if weight.groups != 1 and weight.groups != _size(draft.graph, inputs[position]):
            raise CannotQuantize(
                f"{draft.graph.where(i)}: weights {draft.name(inputs[places[0]])!r} have "
                f"{weight.groups} scales, its bias {_size(draft.graph, inputs[position])} values; "
                "allow the deviation 'constant_per_use' if another operator reads the weights too"
            )
        axis = 0 if weight.axis is not None else None
        return scales.bias_scale(data.scale, weight.scale), axis
    op = draft.graph.operators[i]
    names = {o.name: p for p, o in enumerate(spec.inputs)}
    inner = {o.name: p for p, o in enumerate(spec.intermediates)}

    def form(name: str) -> int:
        if name in names:
            return inputs[names[name]] if names[name] < len(inputs) else -1
        return op.intermediates[inner[name]]

    for product in wanted.scale:
        if product.given is not None and form(product.given) < 0:
            continue
        scale = np.float32(1.0)
        for name in product.operands:
            params = draft.forms[form(name)].params
            if params is None:
                raise CannotQuantize(
                    f"{draft.graph.where(i)} needs the range of its {name}, which is not "
                    "calibrated; allow the deviation 'uncalibrated' to leave it float"
                )
            scale = np.float32(scale * params.scale[0])
        return np.atleast_1d(np.float32(scale * np.float32(product.factor))), None
    raise AssertionError(f"{spec.name} says nothing of the scale of {wanted.name}")


def _size(graph: Graph, t: int) -> int:
    return int(np.prod(graph.tensors[t].shape or (), dtype=np.int64))


def _read_as_data(graph: Graph) -> set[int]:
    """Constants that stand as data or weights of an operator that the older quantizer knows."""
    found: set[int] = set()
    for i, op in enumerate(graph.operators):
        spec = graph.spec(i)
        if spec is None or not spec.legacy or spec.tie_under("legacy") is Tie.OUTPUT:
            continue
        for position, t in enumerate(op.inputs):
            wanted = spec.operand(position)
            if t < 0 or wanted is None or wanted.role in (Role.INDEX, Role.BIAS):
                continue
            if graph.is_constant(t):
                found.add(t)
    return found
