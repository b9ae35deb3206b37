"""Sums and outputs of operators with a state, and of hybrid ones (E90).

A state is what an earlier step left, so its box has to hold for every step: the type's ends where
the kernel clips to them (LSTM), or every newest column and the zero that a reset leaves (SVDF).
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.fixedpoint import multiply_double, quantize_multiplier
from kernels.ops import _lstm, _lstm_integer
from kernels.opspec import Role
from kernels.ranges import INT8, INT16, IntRange
from qcore.certify.boxes import Box, whole
from qcore.certify.linear import INT32, Sums, hybrid
from qcore.certify.rules import Outcome, typed

SVDF_STATE = 4
# Hybrid operators whose rows meet the weights at these positions.
WEIGHTED = {
    "CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "BATCH_MATMUL": 1,
    "TRANSPOSE_CONV": 1,
}  # fmt: skip
LSTMS = ("UNIDIRECTIONAL_SEQUENCE_LSTM", "LSTM")
LSTM_INPUTS, LSTM_INTERMEDIATES = 20, 5  # of the integer LSTM with 16-bit gates


def summing(call: Call) -> bool:
    """Whether the operator has integer sums of its own that only this module can know."""
    if call.name in LSTMS or call.name == "SVDF":
        return bool(call.form)
    return call.form.startswith("hybrid")


def outcome(call: Call, boxes: dict[int, Box]) -> tuple[Outcome, tuple[Sums, ...]] | None:
    """Outputs and sums; None where there is no rule for them."""
    if call.form.startswith("hybrid"):
        sums = _hybrid(call)
        return None if sums is None else (typed(call, "type: hybrid"), sums)
    if call.name == "SVDF" and call.form == "int8":
        return _svdf(call, boxes)
    sixteen = len(call.inputs) >= LSTM_INPUTS and len(call.intermediates) == LSTM_INTERMEDIATES
    if call.name in LSTMS and call.form == "int8" and sixteen:
        return _lstm_8x8_16(call, boxes)
    return None


def _hybrid(call: Call) -> tuple[Sums, ...] | None:
    """Rows of int8 made of floats: whatever they are, the sums have these bounds."""
    if call.name in WEIGHTED:
        position = WEIGHTED[call.name]
        if not call[position].constant:
            return None
        if call.name == "TRANSPOSE_CONV" and not call.profile.is_xnnpack:
            return ()  # floats are added, not integers (E34)
        return (hybrid(call, position),)
    from kernels import ops

    spec = ops.find(call.name)
    found = []
    for position, t in enumerate(call.inputs):
        operand = None if spec is None else spec.operand(position)
        if t is None or operand is None or operand.role is not Role.WEIGHT:
            continue
        if t.dtype in ("int8", "uint8") and len(t.shape) == 2 and t.constant:
            found.append(hybrid(call, position, operand.name))
    return tuple(found)


def _dense(name: str, w: np.ndarray, bias: np.ndarray, box: Box, zero_point: int) -> Sums:
    """sum (x - z) w + b over the last axis: w (units, depth), x (..., depth)."""
    lo, hi = box.steps(zero_point)
    rows = w.astype(np.float64).T
    middle = (lo + hi).astype(np.float64) @ rows
    spread = (hi - lo).astype(np.float64) @ np.abs(rows)
    least, most = (
        np.rint(s / 2).astype(np.int64) + bias for s in (middle - spread, middle + spread)
    )
    size = max(int(np.abs(e.astype(np.int64)).max(initial=0)) for e in (box.lo, box.hi))
    weight = np.abs(w.astype(np.int64))
    folded = np.abs(bias - zero_point * w.astype(np.int64).sum(1))
    reach = np.maximum(np.abs(np.minimum(lo, 0)).max(), np.abs(np.maximum(hi, 0)).max())
    ordered = bool((reach * weight.sum(1) + np.abs(bias) < INT32).all())
    raw = bool((size * weight.sum(1) + folded < INT32).all())
    return Sums(least, most, INT32, None, any_order=ordered, raw=raw, name=name)


def _svdf(call: Call, boxes: dict[int, Box]) -> tuple[Outcome, tuple[Sums, ...]]:
    """The newest column of the state by its sums; any column was newest once, or is zero."""
    x, feature, time, state, y = call[0], call[1], call[2], call[SVDF_STATE], call.output
    first = _dense("state", call.x(1), np.zeros(len(call.x(1)), np.int64), boxes[0], x.z)
    factors = x.s * feature.s / state.s, state.s * time.s / y.s
    newest = _requantized(first, float(factors[0]), 0, INT16)
    lo, hi = np.minimum(newest.lo.min(0), 0), np.maximum(newest.hi.max(0), 0)
    w = call.x(2).astype(np.int64)
    rank = int(call.option("rank", 1))
    products = np.stack([w * lo[:, None], w * hi[:, None]])
    least, most = (e.sum(1).reshape(-1, rank).sum(1) for e in (products.min(0), products.max(0)))
    bias = call.x(3).astype(np.int64) if call.has(3) else np.zeros(len(least), np.int64)
    second = Sums(
        np.broadcast_to(least + bias, (len(newest.lo), len(least))),
        np.broadcast_to(most + bias, (len(newest.lo), len(least))), INT32, None,
        any_order=bool((np.maximum(-least, most) < INT32).all()), attained=False,
    )  # fmt: skip
    made = _requantized(second, float(factors[1]), y.z, INT8)
    return Outcome((made,), "sums"), (first, second)


def _requantized(sums: Sums, factor: float, zero_point: int, q: IntRange) -> Box:
    """clip(DBL(acc) + z) of both ends; everything where that wraps."""
    multiplier, shift = quantize_multiplier(factor)
    left = max(int(shift), 0)
    reach = max(int(np.abs(e).max(initial=0)) for e in (sums.lo, sums.hi)) << left
    shape = sums.lo.shape
    if not sums.fits or reach >= INT32:
        return Box(np.full(shape, q.qmin, q.dtype), np.full(shape, q.qmax, q.dtype))

    def steps(acc: np.ndarray) -> np.ndarray:
        found = multiply_double(acc, multiplier, shift) + zero_point
        return np.clip(found, q.qmin, q.qmax).astype(q.dtype)

    return Box(steps(sums.lo), steps(sums.hi))


def _lstm_8x8_16(call: Call, boxes: dict[int, Box]) -> tuple[Outcome, tuple[Sums, ...]]:
    """Sums of every gate with the input and with the last output, and of the projection."""
    x, state = call[0], call[_lstm.HIDDEN_STATE]
    hidden = whole(state, (1, call[_lstm.RECURRENT_WEIGHTS[_lstm.CELL]].shape[1]))
    assert hidden is not None
    norm = call.has(_lstm.NORM[1])
    sums = []
    for k, gate in enumerate(_lstm.GATES):
        if not call.has(_lstm.INPUT_WEIGHTS[k]):
            continue
        w, r = call.x(_lstm.INPUT_WEIGHTS[k]), call.x(_lstm.RECURRENT_WEIGHTS[k])
        bias = np.zeros(len(w), np.int64) if norm else call.x(_lstm.BIAS[k]).astype(np.int64)
        sums.append(_dense(f"{gate} gate, input", w, bias, boxes[0], x.z))
        sums.append(_dense(f"{gate} gate, state", r, np.zeros(len(r), np.int64), hidden, state.z))
    if call.has(_lstm.PROJECTION):
        middle = call.intermediates[4]
        box = whole(middle, (1, call.x(_lstm.PROJECTION).shape[1]))
        assert box is not None
        bias = np.zeros(len(call.x(_lstm.PROJECTION)), np.int64)
        if call.has(_lstm.PROJECTION_BIAS):
            bias = call.x(_lstm.PROJECTION_BIAS).astype(np.int64)
        # The product has the zero point with the other sign, and the bias takes it out (E42).
        folded = bias + middle.z * call.x(_lstm.PROJECTION).sum(1, dtype=np.int64)
        sums.append(_dense("projection", call.x(_lstm.PROJECTION), folded, box, 0))
        return typed(call, "type"), tuple(sums)
    p = _lstm_integer.parameters(call, boxes[0].shape[0])
    multiplier, shift, zero_point = p.hidden
    if int(shift) > 0:
        return typed(call, "type"), tuple(sums)
    most = 32767 * 32768  # both factors are int16, and a gate is not negative
    lo, hi = (
        np.clip(multiply_double(np.int64(v), multiplier, shift) + zero_point, -128, 127)
        for v in (-most, most)
    )
    shape = call.output.shape
    made = Box(np.full(shape, lo, np.int8), np.full(shape, hi, np.int8))
    return Outcome((made,), "state"), tuple(sums)
