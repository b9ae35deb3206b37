"""What SOFTMAX and LOG_SOFTMAX share: rows, their largest values, exponentials of differences.

Sources: LiteRT kernels/internal/quantization_util.cc (PreprocessSoftmaxScaling,
CalculateInputRadius), reference/softmax.h, optimized_ops.h (PopulateSoftmaxLookupTable).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels import fixedpoint as fp
from kernels import libm
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.gemmlowp import exp_on_negative_values, exp_on_negative_values_scalar
from kernels.jit import jit
from kernels.scalar import high, pot_away

# exp(v) = 2^n exp(v - n ln 2), with ln 2 in two parts, of which n times the first is exact; then a
# polynomial, in float64, whose remainder is below 2^-46.
LOG2_E = 1.4426950408889634
LN_2 = 0.6931471803691238, 1.9082149292705877e-10
INVERSE_FACTORIALS = tuple(1 / math.factorial(k) for k in range(12))
REACH = 200.0  # beyond it a float32 exponential is 0 or infinite
FRACTION_BITS = 26  # of the scaled differences: Q5 of 32 bits
ACCUMULATION_BITS = 12  # integer bits of the sum


class Scaling(NamedTuple):
    """x - max in steps -> Q5 of 32 bits. diff_min: below it the exponential counts as 0 (E70)."""

    multiplier: int
    shift: int
    diff_min: int


def scaling(call: Call, beta: float) -> Scaling:
    """beta * s_x as the reference kernels prepare it (E70). Raises RuntimeRefuses."""
    factor = min(float(np.float32(beta)) * float(call[0].s) * 2.0**FRACTION_BITS, 2.0**31 - 1)
    if factor <= 1:
        raise RuntimeRefuses(
            f"{call.name}: beta * scale is not above 2^-26; the reference kernel aborts"
        )
    multiplier, shift = fp.quantize_multiplier(factor)
    radius = 31 * 2**FRACTION_BITS // 2 ** int(shift)
    return Scaling(int(multiplier), int(shift), -radius)


def rows(x: np.ndarray) -> np.ndarray:
    """(rows, length of the last axis), contiguous."""
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1])


def exponential(x: np.ndarray) -> np.ndarray:
    """exp of float32, in float64 and rounded once: the same last bit on every processor, which
    NumPy's own does not have."""
    v = np.where(np.abs(x) < REACH, x, np.copysign(np.float32(REACH), x)).astype(np.float64)
    v = np.where(np.isnan(x), 0.0, v)
    n = np.rint(v * LOG2_E)
    rest = (v - n * LN_2[0]) - n * LN_2[1]
    y = np.full_like(rest, INVERSE_FACTORIALS[-1])
    for factor in INVERSE_FACTORIALS[-2::-1]:
        y = y * rest + factor
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = np.ldexp(y, n.astype(np.int32)).astype(np.float32)
    return np.where(np.isnan(x), x, found)


def differences(x: np.ndarray) -> np.ndarray:
    """Rows less their largest value, int64."""
    wide = x.astype(np.int64)
    return wide - wide.max(axis=1, keepdims=True)


def exponentials(difference: np.ndarray, s: Scaling) -> tuple[np.ndarray, np.ndarray]:
    """Scaled differences in Q5 and their exponentials in Q0 of 32 bits; 0 below diff_min (E70).

    Worked out for the differences that an 8-bit type has, then looked up.
    """
    steps = np.arange(-255, 1)
    scaled = fp.rdhm(fp.wrap32(steps << s.shift), s.multiplier)
    far = steps < s.diff_min
    power = np.where(far, 0, exp_on_negative_values(np.where(far, -1, scaled), 5))
    return scaled[difference + 255], power[difference + 255]


def fixed_sum(power: np.ndarray) -> np.ndarray:
    """Sum of a row of exponentials in Q12, as the 32 bits that hold it; int64 >= 0 (E70)."""
    return fp.pot_away(power, ACCUMULATION_BITS).sum(axis=1, keepdims=True) & 0xFFFFFFFF


def table(call: Call, beta: float) -> np.ndarray:
    """exp(-beta * s_x * d) for d = 0..255, float32: the optimized kernels' table (E71)."""
    scale = np.float32(-call[0].s * np.float32(beta))
    with np.errstate(all="ignore"):
        return libm.exp(scale * np.arange(256).astype(np.float32))


def sequential_sum(values: np.ndarray) -> np.ndarray:
    """Row sums in float32, one addition after the other; (rows, 1)."""
    with np.errstate(all="ignore"):
        return np.add.accumulate(values, axis=1, dtype=np.float32)[:, -1:]


@jit
def exponential_tables(multiplier, shift, diff_min):
    """`exponentials` at -255..0 for jitted loops: scaled, power, power in Q12."""
    scaled = np.zeros(256, np.int64)
    power = np.zeros(256, np.int64)
    small = np.zeros(256, np.int64)
    for i in range(256):
        step = i - 255
        scaled[i] = high(step, multiplier, max(shift, 0))
        if step >= diff_min:
            power[i] = exp_on_negative_values_scalar(scaled[i], 5, 32)
            small[i] = pot_away(power[i], 12)
    return scaled, power, small


@jit
def row_sums(x, exps, out):
    """Sequential float32 sums of exps[largest - x]."""
    for r in range(x.shape[0]):
        largest = x[r, 0]
        for i in range(x.shape[1]):
            largest = max(largest, x[r, i])
        total = np.float32(0)
        for i in range(x.shape[1]):
            total += exps[np.int64(largest) - np.int64(x[r, i])]
        out[r] = total
