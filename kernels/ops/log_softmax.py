"""LOG_SOFTMAX: y_i = x_i - log(sum_j exp(x_j)) over the last axis.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

import numpy as np

from kernels import bounds, libm, lut
from kernels import fixedpoint as fp
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.gemmlowp import log_from_one
from kernels.jit import jit
from kernels.numerics import Row
from kernels.ops import _softmax as common
from kernels.ops._softmax import exponential_tables, row_sums
from kernels.opspec import Fixed, Operand, OpSpec
from kernels.scalar import clip, pot_away
from kernels.trace import note

SPEC = OpSpec(
    name="LOG_SOFTMAX",
    inputs=(Operand("input"),),
    outputs=(
        Operand("output", fixed={"int8": Fixed(16 / 256, 127), "uint8": Fixed(16 / 256, 255)}),
    ),
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)

_FIXED = "exp, sum and log in fixed point (E70)"
_FLOAT = "float32 table of exp, sums in order, half_even (E71)"
_SOURCE = "kernels/activations.cc; reference/integer_ops/log_softmax.h; optimized_ops.h"

NUMERICS = (
    Row("int8", _FIXED, _FLOAT, "", _SOURCE, "the sum of exponentials must stay below 4096"),
    Row("uint8", _FIXED, _FLOAT, "", _SOURCE, "the sum of exponentials must stay below 4096"),
)

OUTPUT_BITS = 22  # 31 - 5 - 4: from Q5 to steps of 1/16


def real(call: Call) -> tuple[np.ndarray, ...]:
    """x - max - log(sum exp(x - max)), float32; the sum in float64, rounded once."""
    x = np.asarray(call[0].real(), np.float32)
    with np.errstate(under="ignore", invalid="ignore"):
        shifted = x - x.max(axis=-1, keepdims=True)
        total = np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64).astype(np.float32)
        return (shifted - np.log(total),)


def bound(call: Call) -> np.ndarray:
    """The sum in another order (E75); exponentials of 2 ulp, a logarithm of 3 ulp (E76)."""
    x = call.x(0).astype(np.float64)
    (y,) = real(call)
    away = np.abs(x - x.max(axis=-1, keepdims=True))
    mean = (np.exp(-away) * away).sum(axis=-1, keepdims=True)  # over a sum of at least 1
    logarithm = np.log(np.exp(-away).sum(axis=-1, keepdims=True))
    relative = bounds.gamma(x.shape[-1] + 3) + bounds.U * (2 * mean + 10)
    return relative + bounds.U * (2 * away + 6 * logarithm + 2 * np.abs(y)) + bounds.TINY


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """Fixed point on the reference path (E70), float32 on the others (E71)."""
    _check(call)
    x, q = common.rows(call.x(0)), call.output.range
    y = _fixed(call, x) if call.profile.is_reference else _float(call, x)
    return (np.clip(y, q.qmin, q.qmax).astype(q.dtype).reshape(call[0].shape),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted; the logarithms, one a row, by NumPy and the C library."""
    _check(call)
    x, q = common.rows(call.x(0)), call.output.range
    out = np.empty(x.shape, q.dtype)
    if call.profile.is_reference:
        s = common.scaling(call, 1.0)
        scaled, _, small = exponential_tables(s.multiplier, s.shift, s.diff_min)
        sums = np.empty(x.shape[0], np.int64)
        _fixed_sums(x, small, sums)
        log = log_from_one(sums & 0xFFFFFFFF, common.ACCUMULATION_BITS, 5)
        _fixed_rows(x, scaled, log, _threshold(call, s, log), q.qmin, q.qmax, out)
    else:
        sums = np.empty(x.shape[0], np.float32)
        row_sums(x, common.table(call, 1.0), sums)
        scale, offset = _affine(call, x.max(axis=1), libm.log(sums))
        _float_rows(x, scale, offset, call.output.z, q.qmin, q.qmax, out)
    return (out.reshape(call[0].shape),)


def _fixed(call: Call, x: np.ndarray) -> np.ndarray:
    """(E70)"""
    s = common.scaling(call, 1.0)
    difference = common.differences(x)
    scaled, power = common.exponentials(difference, s)
    total = common.fixed_sum(power)
    log = log_from_one(total, common.ACCUMULATION_BITS, 5)
    note("sum", total, "E70")
    note("log", log, "E70")
    q = call.output.range
    steps = fp.pot_away(fp.wrap32(scaled - log), OUTPUT_BITS) + q.qmax
    return np.where(difference > _threshold(call, s, log), steps, q.qmin)


def _threshold(call: Call, s: common.Scaling, log: np.ndarray) -> np.ndarray:
    """Differences up to this one are below the smallest output (E70)."""
    divisor = (2.0 ** (31 - s.shift)) / s.multiplier
    if not 0 < s.shift < 32 or divisor >= 1:
        raise RuntimeRefuses("LOG_SOFTMAX: the scale is below 2^-24; the reference kernel aborts")
    lowest = fp.multiply_double(log + fp.INT32_MIN, *fp.quantize_multiplier(divisor))
    return np.maximum(s.diff_min - 1, lowest)


def _float(call: Call, x: np.ndarray) -> np.ndarray:
    """(E71)"""
    power = common.table(call, 1.0)[-common.differences(x)]
    total = common.sequential_sum(power)
    scale, offset = _affine(call, x.max(axis=1, keepdims=True), libm.log(total))
    note("sum", total, "E71")
    note("offset", offset, "E71")
    with np.errstate(over="ignore"):
        steps = np.rint(x.astype(np.float32) * scale - offset) + np.float32(call.output.z)
    return lut.truncate32(steps)


def _affine(call: Call, largest: np.ndarray, log: np.ndarray) -> tuple[np.float32, np.ndarray]:
    """y in steps is x * scale - offset (E71)."""
    s, t = call[0].s, call.output.s
    with np.errstate(over="ignore"):
        return np.float32(s / t), (s * largest.astype(np.float32) + log) / t


def _check(call: Call) -> None:
    """Raises RuntimeRefuses for types and output parameters that the kernel does not take."""
    x, y = call[0], call.output
    if x.dtype not in ("int8", "uint8") or y.dtype != x.dtype or not x.shape:
        raise RuntimeRefuses(f"LOG_SOFTMAX: {x.dtype} to {y.dtype} of {x.shape}: no kernel")
    if y.z != y.range.qmax or float(y.s) != 16 / 256:
        raise RuntimeRefuses(
            f"LOG_SOFTMAX: output scale {y.s}, zero point {y.z}; the runtime insists on 1/16 and "
            f"{y.range.qmax}"
        )


@jit
def _fixed_sums(x, small, out):
    for r in range(x.shape[0]):
        largest = np.int64(x[r, 0])
        for i in range(x.shape[1]):
            largest = max(largest, np.int64(x[r, i]))
        total = np.int64(0)
        for i in range(x.shape[1]):
            total += small[255 + np.int64(x[r, i]) - largest]
        out[r] = total


@jit
def _fixed_rows(x, scaled, log, threshold, qmin, qmax, out):
    for r in range(x.shape[0]):
        largest = np.int64(x[r, 0])
        for i in range(x.shape[1]):
            largest = max(largest, np.int64(x[r, i]))
        for i in range(x.shape[1]):
            step = np.int64(x[r, i]) - largest
            if step > threshold[r]:
                difference = np.int64(np.int32(scaled[255 + step] - log[r]))
                out[r, i] = clip(pot_away(difference, 22) + qmax, qmin, qmax)
            else:
                out[r, i] = qmin


@jit
def _float_rows(x, scale, offset, zero_point, qmin, qmax, out):
    for r in range(x.shape[0]):
        for i in range(x.shape[1]):
            t = np.float32(np.float32(np.float32(x[r, i]) * scale) - offset[r])
            t = np.float32(np.rint(t) + np.float32(zero_point))
            out[r, i] = clip(np.int64(max(t, np.float32(-1e9))), qmin, qmax)
