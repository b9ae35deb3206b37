"""What FULLY_CONNECTED and BATCH_MATMUL share: every row of x against every row of w.

`sums` and `hybrid` are the definitions; `integer_loops` and `hybrid_loops` the same, jitted.
"""

from __future__ import annotations

import numpy as np

from kernels.exact import matmul
from kernels.fixedpoint import wrap32
from kernels.fma import fma, fma32
from kernels.hybrid import products, row_sums
from kernels.jit import jit
from kernels.stage import requantize
from kernels.trace import note

# How a hybrid kernel turns integer sums into floats (E35).
LITERT, XNNPACK, XNNPACK_PLAIN = range(3)

F32 = np.float32


def sums(x: np.ndarray, w: np.ndarray, x_zero: int, w_zero: int, wide: bool = False) -> np.ndarray:
    """sum_i (x[r,i] - x_zero)(w[o,i] - w_zero) (E12): (R, N), (O, N) integers -> (R, O) int64.

    Wrapped to 32 bits, as the accumulators of all but the 64-bit (`wide`) kernels are.
    """
    acc = matmul(x.astype(np.int64) - x_zero, (w.astype(np.int64) - w_zero).T)
    return acc if wide else wrap32(acc)


def centred(x: np.ndarray, zero_point: int) -> np.ndarray:
    """x - zero_point as the int16 rows that the loops take: x of 8 bits, or int16 about 0."""
    rows = x.astype(np.int16)
    if zero_point:
        rows -= np.int16(zero_point)
    return rows


@jit
def dot32(x, w):
    """Sum of products modulo 2^32, x and w of at most 16 bits."""
    acc = np.int32(0)
    for i in range(x.size):
        acc = np.int32(acc + np.int32(np.int32(x[i]) * np.int32(w[i])))
    return np.int64(acc)


@jit
def dot64(x, w):
    acc = np.int64(0)
    for i in range(x.size):
        acc += np.int64(x[i]) * np.int64(w[i])
    return acc


@jit
def total(x):
    acc = np.int64(0)
    for i in range(x.size):
        acc += np.int64(x[i])
    return acc


@jit
def integer_loops(x, w, w_zero, bias, wide, p, out):
    """x (R, N) int16 about 0, w (O, N), bias (O,) int64, p: Parameters -> out (R, O)."""
    for row in range(x.shape[0]):
        shift = w_zero * total(x[row]) if w_zero != 0 else np.int64(0)
        for unit in range(w.shape[0]):
            if wide:
                acc = dot64(x[row], w[unit]) - shift + bias[unit]
            else:
                acc = np.int64(np.int32(dot32(x[row], w[unit]) - shift + bias[unit]))
            out[row, unit] = requantize(acc, unit, p)


def hybrid(
    rule: int, q: np.ndarray, s: np.ndarray, z: np.ndarray, w: np.ndarray, sw: np.ndarray,
    bias: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Rows quantized on the fly against integer weights, float32 (R, O) (E35).

    q (R, N), s (R,), z (R,): as kernels.hybrid makes them; w (O, N) integers; sw, bias (O,).
    """
    dots = products(q, w) if rule == LITERT else matmul(q, w.T)
    weights = weight_sums(rule, w)
    note("row scale", s, "E31")
    acc = wrap32(dots - z[:, None] * weights).astype(F32)
    note("accumulator", acc, "E35")
    if rule == XNNPACK:
        return fma32(acc * s[:, None], sw, bias)
    if rule == XNNPACK_PLAIN:
        return acc * s[:, None] * sw + bias
    return bias + acc * (s[:, None] * sw)


def weight_sums(rule: int, w: np.ndarray) -> np.ndarray:
    """Sums (O,) of the rows of w, by which the zero point is taken out (E35, E44)."""
    return row_sums(w) if rule == LITERT else w.sum(1, dtype=np.int64)


@jit
def _flips(q, w):
    """What the sign trick of hybrid.products adds to one row and one unit."""
    acc = np.int64(0)
    for i in range(q.size // 16 * 16):
        if w[i] == -128 and q[i] < 0:
            acc += np.int64(q[i])
    return 256 * acc


@jit
def _holds(w, value):
    for v in w:
        if v == value:
            return True
    return False


@jit
def hybrid_loops(rule, q, s, z, w, sums, sw, bias, out):
    for unit in range(w.shape[0]):
        weights = sums[unit]
        spoilt = rule == 0 and _holds(w[unit], -128)
        for row in range(q.shape[0]):
            dot = dot32(q[row], w[unit])
            if spoilt:
                dot += _flips(q[row], w[unit])
            acc = np.float32(np.int32(dot - z[row] * weights))
            if rule == 1:
                out[row, unit] = fma(np.float32(acc * s[row]), sw[unit], bias[unit])
            elif rule == 2:
                product = np.float32(np.float32(acc * s[row]) * sw[unit])
                out[row, unit] = np.float32(product + bias[unit])
            else:
                product = np.float32(acc * np.float32(s[row] * sw[unit]))
                out[row, unit] = np.float32(bias[unit] + product)
