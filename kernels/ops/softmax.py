"""SOFTMAX: y_i = exp(beta * x_i) / sum_j exp(beta * x_j) over the last axis.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from kernels import bounds, libm, lut
from kernels import fixedpoint as fp
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.gemmlowp import (
    get_reciprocal,
    get_reciprocal_scalar,
    high_mul,
    leading_zeros,
    leading_zeros_scalar,
)
from kernels.jit import jit
from kernels.lut import lookup16_scalar
from kernels.numerics import Row
from kernels.ops import _softmax as common
from kernels.ops._softmax import exponential_tables
from kernels.opspec import Fixed, Operand, OpSpec
from kernels.rounding import half_away
from kernels.scalar import clip, dbl, half_away32, pot_away, rdhm
from kernels.trace import note

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="SOFTMAX",
    inputs=(Operand("input"),),
    outputs=(
        Operand(
            "output",
            fixed={
                "int8": Fixed(1 / 256, -128),
                "int16": Fixed(1 / 32768, 0),
                "uint8": Fixed(1 / 256, 0),
            },
        ),
    ),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
)

_FIXED = "exp and reciprocal in fixed point, Q5 and Q12 (E70)"
_FLOAT = "float32 table of exp, sums in order, half_away(t / (sum s_y)) + z_y (E71)"
_SOURCE = "kernels/activations.cc; reference/softmax.h; optimized_ops.h (Softmax)"
_ABORT = "the reference kernel aborts where the sum of exponentials reaches 512"
_UNCHECKED = "scale and zero point of the output are not looked at on the reference path"

NUMERICS = (
    Row("int8", _FIXED, _FLOAT, "", _SOURCE, _ABORT),
    Row("uint8", _FIXED, "as int8, but trunc(f32(t + 0.5)) without z_y (E71)", "", _SOURCE,
        f"{_ABORT}; {_UNCHECKED}"),
    Row("int8 to int16", _FIXED, _FLOAT, "", _SOURCE, _UNCHECKED),
    Row("uint8 to int16", _FIXED, _FLOAT, "", _SOURCE, _UNCHECKED),
    Row("int16", "two tables of 513 nodes (E72)", "the same", "", _SOURCE),
)  # fmt: skip

# Types in, out -> (scale, zero point) that prepare insists on, the scale within a thousandth.
CHECKED = {("int8", "int8"): (1 / 256, -128), ("int16", "int16"): (1 / 32768, 0)}
PAIRS = ("int8", "int8"), ("uint8", "uint8"), ("int8", "int16"), ("uint8", "int16"), ("int16",) * 2


def real(call: Call) -> tuple[np.ndarray, ...]:
    """exp(beta (x - max)) / sum, float32; the sum in float64, in order, rounded once.

    Each exponential, the sum and the quotient are good to a few ulp: relative error below 2^-20.
    """
    x = np.asarray(call[0].real(), np.float32)
    with np.errstate(under="ignore", invalid="ignore", over="ignore"):
        away = (x - x.max(axis=-1, keepdims=True)) * np.float32(call.option("beta", 1.0))
        power = common.exponential(away)
        total = power.cumsum(axis=-1, dtype=np.float64)[..., -1:]
        return (power / total.astype(np.float32),)


def bound(call: Call) -> np.ndarray:
    """The sum in another order (E75); exponentials of rounded arguments, 2 ulp each (E76).

    XNNPACK may read both the exponential and the quotient as 0 where they are subnormal.
    """
    x = call.x(0).astype(np.float64)
    (y,) = real(call)
    with np.errstate(all="ignore"):
        away = np.abs((x - x.max(axis=-1, keepdims=True)) * float(call.option("beta", 1.0)))
        mean = np.where(y > 0, y * away, 0).sum(axis=-1, keepdims=True)
        relative = bounds.gamma(x.shape[-1] + 3) + bounds.U * (2 * (away + mean) + 10)
        return np.where(y > 0, y * relative, 0) + 2 * bounds.TINY


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """Fixed point on the reference path (E70), float32 tables on others (E71), int16 tables (E72).

    Raises RuntimeRefuses where the reference kernel aborts: a row whose sum reaches 512.
    """
    _check(call)
    x = common.rows(call.x(0))
    if call[0].dtype == "int16":
        y = _int16(call, x)
    else:
        y = _fixed(call, x) if call.profile.is_reference else _float(call, x)
    return (y.reshape(call[0].shape).astype(call.output.held),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _check(call)
    x, q = common.rows(call.x(0)), call.output.range
    out = np.empty(x.shape, call.output.held)
    if call[0].dtype == "int16":
        multiplier, shift = _int16_factor(call)
        _int16_rows(x, *_int16_tables(), multiplier, shift, out)
    elif call.profile.is_reference:
        s = common.scaling(call, call.option("beta", 1.0))
        if not _fixed_rows(x, s.multiplier, s.shift, s.diff_min, q.bits, q.qmin, q.qmax, out):
            raise _too_large(call)
    else:
        scale, plain = call.output.s, call.output.dtype == "uint8"
        exps = common.table(call, call.option("beta", 1.0))
        _float_rows(x, exps, scale, call.output.z, plain, q.qmin, q.qmax, out)
    return (out.reshape(call[0].shape),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled: 8 bits; on the reference path rows that cannot make the runtime abort."""
    from kernels.simd import floats, normalize

    if not call.form:
        floats.softmax(to)
        return
    normalize.softmax(to)


def _fixed(call: Call, x: np.ndarray) -> np.ndarray:
    """(E70)"""
    q = call.output.range
    s = common.scaling(call, call.option("beta", 1.0))
    difference = common.differences(x)
    _, power = common.exponentials(difference, s)
    total = common.fixed_sum(power)
    scale, over_unit = get_reciprocal(total, common.ACCUMULATION_BITS)
    exponent = over_unit + 31 - q.bits
    note("sum", total, "E70")
    note("reciprocal", scale, "E70")
    if (exponent > 31).any() or (exponent < 0).any():
        raise _too_large(call)
    steps = fp.pot_away(high_mul(scale, power), exponent) + q.qmin
    return np.where(difference < s.diff_min, q.qmin, np.clip(steps, q.qmin, q.qmax))


def _float(call: Call, x: np.ndarray) -> np.ndarray:
    """(E71)"""
    y = call.output
    power = common.table(call, call.option("beta", 1.0))[-common.differences(x)]
    total = common.sequential_sum(power)
    note("sum", total, "E71")
    with np.errstate(all="ignore"):
        steps = power * (np.float32(1) / (total * y.s))
        if y.dtype == "uint8":
            steps = lut.truncate32(steps + np.float32(0.5))
        else:
            steps = lut.truncate32(half_away(steps)) + y.z
    return np.clip(steps, y.range.qmin, y.range.qmax)


def _int16(call: Call, x: np.ndarray) -> np.ndarray:
    """(E72)"""
    powers, reciprocals = _int16_tables()
    scaled = fp.multiply_double(common.differences(x), *_int16_factor(call))
    power = lut.lookup16(np.clip(scaled + 32767, -32768, 32767), powers).astype(np.int64)
    total = fp.wrap32(power.sum(axis=1, keepdims=True))
    zeros = leading_zeros(total)
    mantissa = ((total << (zeros - 1)) + (1 << 13)) >> 14
    inverse = lut.lookup16(np.clip(mantissa - 98304, -32768, 32767), reciprocals).astype(np.int64)
    note("sum", total, "E72")
    note("reciprocal", inverse, "E72")
    right = 31 - zeros
    return np.clip((power * inverse + (np.int64(1) << (right - 1))) >> right, 0, 32767)


@cache
def _int16_tables() -> tuple[np.ndarray, np.ndarray]:
    """exp over [-10, 0] and 1 / (1 + x) over [0, 1], outputs in Q0.15 (E72)."""
    powers = lut.table16(libm.exp64, 10 / 65535, 32767, 2 / 65535, 0, np.float64)
    reciprocals = lut.table16(lambda v: 1 / (1 + v), 1 / 65535, -32768, 2 / 65535, 0, np.float64)
    return powers, reciprocals


def _int16_factor(call: Call) -> tuple[int, int]:
    """Steps -> steps of the table of exp: beta s_x / (10 / 65535) (E72)."""
    product = np.float32(call[0].s * np.float32(call.option("beta", 1.0)))
    multiplier, shift = fp.quantize_multiplier(float(product) / (10 / 65535))
    return int(multiplier), int(shift)


def _check(call: Call) -> None:
    """Raises RuntimeRefuses for types and output parameters that the kernel does not take."""
    x, y = call[0], call.output
    if (x.dtype, y.dtype) not in PAIRS or not x.shape:
        raise RuntimeRefuses(f"SOFTMAX: {x.dtype} to {y.dtype} of rank {len(x.shape)}: no kernel")
    scale, zero_point = CHECKED.get((x.dtype, y.dtype), (float(y.s), y.z))
    if y.z != zero_point or abs(float(y.s) - scale) > 0.001 * scale:
        raise RuntimeRefuses(
            f"SOFTMAX: {y.dtype} output has scale {y.s}, zero point {y.z}; the runtime insists on "
            f"{scale} and {zero_point}"
        )
    if x.dtype == "int16" and (x.z or y.z):
        raise RuntimeRefuses("SOFTMAX: int16 with a zero point; the runtime stops in prepare")


def _too_large(call: Call) -> RuntimeRefuses:
    return RuntimeRefuses(
        "SOFTMAX: a row's sum of exponentials, relative to its largest term, reaches 512; the "
        f"reference kernel aborts (scale {call[0].s}, {call[0].shape[-1]} values a row)"
    )


@jit
def _fixed_rows(x, multiplier, shift, diff_min, bits, qmin, qmax, out):
    """Whether every sum stayed in range."""
    _, power, small = exponential_tables(multiplier, shift, diff_min)
    for r in range(x.shape[0]):
        largest = np.int64(x[r, 0])
        for i in range(x.shape[1]):
            largest = max(largest, np.int64(x[r, i]))
        total = np.int64(0)
        for i in range(x.shape[1]):
            total += small[255 + np.int64(x[r, i]) - largest]
        scale, over_unit = get_reciprocal_scalar(total & 0xFFFFFFFF, 12)
        exponent = over_unit + 31 - bits
        if exponent < 0 or exponent > 31:
            return False
        for i in range(x.shape[1]):
            step = np.int64(x[r, i]) - largest
            steps = pot_away(rdhm(scale, power[255 + step]), exponent) + qmin
            out[r, i] = clip(steps, qmin, qmax) if step >= diff_min else qmin
    return True


@jit
def _float_rows(x, exps, scale, zero_point, plain, qmin, qmax, out):
    """plain: add a half and cut, as to uint8; else half away, and the zero point."""
    for r in range(x.shape[0]):
        largest = np.int64(x[r, 0])
        for i in range(x.shape[1]):
            largest = max(largest, np.int64(x[r, i]))
        total = np.float32(0)
        for i in range(x.shape[1]):
            total += exps[largest - np.int64(x[r, i])]
        inverse = np.float32(1) / np.float32(total * scale)
        for i in range(x.shape[1]):
            t = np.float32(exps[largest - np.int64(x[r, i])] * inverse)
            if plain:
                steps = np.int64(np.trunc(np.float32(t + np.float32(0.5))))
            else:
                steps = half_away32(t) + zero_point
            out[r, i] = clip(steps, qmin, qmax)


@jit
def _int16_rows(x, powers, reciprocals, multiplier, shift, out):
    for r in range(x.shape[0]):
        largest = np.int64(x[r, 0])
        for i in range(x.shape[1]):
            largest = max(largest, np.int64(x[r, i]))
        total = np.int64(0)
        for i in range(x.shape[1]):
            scaled = dbl(np.int64(x[r, i]) - largest, multiplier, shift) + 32767
            out[r, i] = lookup16_scalar(clip(scaled, -32768, 32767), powers)
            total += out[r, i]
        zeros = leading_zeros_scalar(total)
        mantissa = ((total << np.int64(zeros - 1)) + (1 << 13)) >> np.int64(14)
        inverse = lookup16_scalar(clip(mantissa - 98304, -32768, 32767), reciprocals)
        right = np.int64(31 - zeros)
        half = np.int64(1) << (right - 1)
        for i in range(x.shape[1]):
            out[r, i] = clip((np.int64(out[r, i]) * inverse + half) >> right, 0, 32767)
