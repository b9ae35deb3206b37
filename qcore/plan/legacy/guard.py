"""Ranges of weights, raised where a bias would leave half of int32 (E14).

Source: LiteRT tools/optimize/quantize_model.cc (FillQuantizationParams,
EnsureBiasScaleCompatibility), quantization_utils.cc (AdjustWeightsForBiasScale).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kernels import scales
from kernels.opspec import OpSpec, Role, Tie
from qcore.errors import CannotQuantize
from qcore.params import Stats
from qcore.plan import common
from qcore.recipe import Setting

if TYPE_CHECKING:
    from qcore.plan.legacy.draft import Draft

Key = tuple[int, "int | None"]  # constant and the axis it is grouped by, None for one group


def range_key(t: int, axis: int | None, values: np.ndarray) -> Key:
    """Where the range of a weight is kept: one channel is one group, whatever its axis."""
    return t, None if axis is None or values.shape[axis] == 1 else axis


def guarded_ranges(draft: Draft) -> dict[Key, tuple[Stats, bool]]:
    """Ranges of the weights that have a bias, and whether they were raised.

    The input's scale is that of its own range, also where it will take over another one; a weight
    that several operators read keeps what each of them asks for.
    """
    found: dict[Key, tuple[Stats, bool]] = {}
    graph, first = draft.graph, FirstReads()
    for i, choice in enumerate(draft.choices):
        spec, op = graph.spec(i), graph.operators[i]
        if spec is None:
            continue
        first.note(draft, i, spec)
        places = spec.weight_and_bias
        if choice.dtype is None or places is None:
            continue
        weight_at, bias_at = places
        if bias_at >= len(op.inputs) or not graph.is_constant(op.inputs[bias_at]):
            continue
        t = op.inputs[weight_at]
        if not graph.is_constant(t):
            continue
        step = _input_step(draft, i, choice.dtype)
        values, bias = graph.constant(t), graph.constant(op.inputs[bias_at])
        assert values is not None and bias is not None
        axis = _axis(draft, i, weight_at, spec)
        if axis is not None and not draft.recipe.deviates("constant_per_use"):
            first.check(draft, i, t, bias.size)
        key = range_key(t, axis, values)
        stats, raised = found.get(key) or (common.stats_of(graph, t, axis), False)
        setting = common.setting(graph, draft.recipe, i, weight_at)
        guarded = stats
        if step is not None:
            kept = _kept(draft, t, axis, stats, setting)
            guarded = _guard(stats, kept, bias, step, _qmax(setting.dtype))
        found[key] = guarded, raised or guarded is not stats
    return found


def _kept(draft: Draft, t: int, axis: int | None, stats: Stats, setting: Setting) -> np.ndarray:
    """The largest magnitude of each group that has an integer: less than all by a scheme that
    clips."""
    magnitude = np.maximum(np.abs(stats.lo), np.abs(stats.hi))
    scheme = setting.scheme
    if scheme is not None and scheme.needs != "range":
        own = common.stats_of(draft.graph, t, axis)
        q = common.int_range(setting.dtype, scheme.takes_narrow, "a weight")
        params = common.choose_constant(draft.graph, t, scheme, own, q, axis)
        raised = (stats.lo != own.lo) | (stats.hi != own.hi)
        magnitude = np.where(raised, magnitude, params.scale.astype(np.float64) * q.qmax)
    return magnitude.astype(np.float32)


def _axis(draft: Draft, i: int, position: int, spec: OpSpec) -> int | None:
    """The axis of a weight's channels under the recipe."""
    graph = draft.graph
    t = graph.operators[i].inputs[position]
    values, granularity = (
        graph.constant(t),
        common.setting(graph, draft.recipe, i, position).granularity,
    )
    assert values is not None
    return common.axis_of(granularity, spec.inputs[position].axis, values, graph.name(t))


class FirstReads:
    """How the older quantizer groups a constant: once, as its first reader wants it.

    ranges, scales: constant -> number of groups; set by different readers, since operators tied to
    their output take no part in the first, and operators that stay float none in the second.
    """

    def __init__(self) -> None:
        self.ranges: dict[int, int] = {}
        self.scales: dict[int, int] = {}

    def note(self, draft: Draft, i: int, spec: OpSpec) -> None:
        """Takes in the constants that operator i reads."""
        if not spec.legacy:
            return
        for position, t in enumerate(draft.graph.operators[i].inputs):
            operand = spec.operand(position)
            if operand is None or operand.role in (Role.INDEX, Role.BIAS):
                continue
            if t < 0 or not draft.graph.is_constant(t) or not draft.graph.is_float(t):
                continue
            axis = _axis(draft, i, position, spec) if operand.role is Role.WEIGHT else None
            groups = 1 if axis is None else (draft.graph.tensors[t].shape or (1,))[axis]
            if spec.tie_under("legacy") is not Tie.OUTPUT:
                self.ranges.setdefault(t, groups)
            if draft.choices[i].dtype is not None:
                self.scales.setdefault(t, groups)

    def check(self, draft: Draft, i: int, t: int, channels: int) -> None:
        """Raises CannotQuantize where the bias of operator i meets another number of groups."""
        if self.ranges[t] == self.scales[t] == channels:
            return
        raise CannotQuantize(
            f"{draft.graph.where(i)} wants {channels} scales for {draft.graph.name(t)!r}, which an "
            "earlier operator reads in another way; allow the deviation 'constant_per_use'"
        )


def _qmax(dtype: str | None) -> int:
    return common.int_range(dtype, True, "a weight").qmax


def _input_step(draft: Draft, i: int, dtype: str) -> float | None:
    """Scale of an operator's data on its own range, None where that is not known."""
    graph, spec = draft.graph, draft.graph.spec(i)
    assert spec is not None and spec.data is not None
    t = graph.operators[i].inputs[spec.data]
    values = graph.constant(t) if graph.is_constant(t) else None
    stats = draft.ranges.get(t) if values is None else common.stats_of(graph, t, None)
    found = common.setting(graph, draft.recipe, i, spec.data)
    if stats is None or found.scheme is None:
        return None
    if values is not None and found.scheme.needs != "range":
        q = common.int_range(dtype, found.scheme.takes_narrow, "a constant")
        return float(common.choose_constant(graph, t, found.scheme, stats, q).scale[0])
    form = draft.parameters(t, dtype, found, stats)
    assert form.params is not None
    return float(form.params.scale[0])


def _guard(
    stats: Stats, magnitude: np.ndarray, bias: np.ndarray, input_scale: float, qmax: int
) -> Stats:
    """The range after the guard; its formula counts in steps of an eighth bit, hence the factor.

    magnitude: the largest of each group that has an integer, float32.
    """
    per_tensor = stats.groups == 1
    if not per_tensor and bias.size != stats.groups:
        return stats
    factor = np.float32(127 / qmax)
    guarded = scales.bias_guard_legacy(
        bias.reshape(-1), input_scale, magnitude * factor, per_tensor
    )
    if not guarded.raised.any():
        return stats
    high = (guarded.max_abs / factor).astype(np.float64)
    raised = guarded.raised & ~np.isnan(high)  # no bias over no scale asks for nothing
    return replace(stats, lo=np.where(raised, -high, stats.lo), hi=np.where(raised, high, stats.hi))
