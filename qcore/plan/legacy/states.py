"""What LSTM and SVDF keep between steps: states, shared ranges and intermediate tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels import scales
from kernels.ranges import INT16_NARROW
from qcore.errors import CannotQuantize
from qcore.params import Affine, Stats
from qcore.plan import common
from qcore.plan.values import Form

if TYPE_CHECKING:
    from qcore.plan.legacy.draft import Draft


def shared(draft: Draft, i: int, dtype: str) -> None:
    """An output and the state that it becomes take the union of both ranges."""
    op, spec = draft.graph.operators[i], draft.graph.spec(i)
    assert spec is not None
    for source, target in spec.shared:
        state, output = op.inputs[source], op.outputs[target]
        stats = [draft.ranges[t] for t in (state, output) if t in draft.ranges]
        if not stats:
            raise CannotQuantize(
                f"{draft.graph.where(i)}: the range of its output is not calibrated"
            )
        union = stats[0] if len(stats) == 1 else stats[0].union(stats[1])
        found = common.output_setting(draft.graph, draft.recipe, i, target)
        for t in (state, output):
            rule = f"shared by {op.name} output and state"
            draft.forms[t] = draft.parameters(t, dtype, found, union).replace(rule=rule)


def state(draft: Draft, i: int, position: int, dtype: str) -> None:
    """Parameters of a state that nothing else has fixed."""
    graph, spec = draft.graph, draft.graph.spec(i)
    t = graph.operators[i].inputs[position]
    operand = spec.operand(position) if spec is not None else None
    if draft.forms[t].quantized or operand is None:
        return
    kind, stats = operand.dtype or dtype, draft.ranges[t]
    if kind != "int16":
        found = common.setting(graph, draft.recipe, i, position)
        draft.forms[t] = draft.parameters(t, kind, found, stats)
        return
    if operand.power_of_two:
        scale, rule = scales.power_of_two_legacy(stats.lo, stats.hi), "state, power of two"
    else:
        scale, rule = _symmetric(stats), "state, symmetric"
    draft.forms[t] = Form(
        t, kind, Affine.of(scale[0]), rule=rule, stats=stats, note=common.degenerate(stats)
    )


def intermediates(draft: Draft, i: int, dtype: str) -> tuple[int, ...]:
    """Intermediate tensors in their integer form, where their ranges are known.

    The gates matter only with layer norm, where they are int16; without it, those with a range
    become what the older quantizer makes of them.
    """
    op, spec = draft.graph.operators[i], draft.graph.spec(i)
    assert spec is not None
    gates = spec.intermediates
    layer_norm = len(op.inputs) > 23 and op.inputs[21] >= 0
    for position, t in enumerate(op.intermediates or ()):
        stats = draft.ranges.get(t)
        if t < 0 or stats is None or draft.forms[t].quantized or position >= len(gates):
            continue
        if gates[position].dtype == "int16" and layer_norm:
            params = Affine.of(_symmetric(stats)[0])
            draft.forms[t] = Form(t, "int16", params, rule="intermediate, symmetric", stats=stats)
        else:
            found = common.output_setting(draft.graph, draft.recipe, i)
            draft.forms[t] = draft.parameters(t, dtype, found, stats).replace(rule="intermediate")
    return tuple(op.intermediates or ())


def _symmetric(stats: Stats) -> np.ndarray:
    return scales.symmetric_legacy(np.maximum(np.abs(stats.lo), np.abs(stats.hi)), INT16_NARROW)
