"""The primitives of `kernels.fixedpoint` and `kernels.rounding` on single numbers, for jit loops.

Each is bit for bit its namesake on arrays (tests/kernels/test_scalar.py). Integers are int64,
floats have the type that the name says. Import them by name into the module of the jitted loop.

Traps of numba: `np.float32(a) * b` is float64 when b is a Python int or an int64 (convert it
first); `//` and `%` round down, C division does not (use `cdiv`).
"""

from __future__ import annotations

import math

import numpy as np

from kernels.jit import jit

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
BELOW_HALF_64 = np.nextafter(0.5, 0.0)
BELOW_HALF_32 = np.nextafter(np.float32(0.5), np.float32(0.0))


@jit
def wrap32(x):
    return np.int64(np.int32(x))


@jit
def wrap16(x):
    return np.int64(np.int16(x))


@jit
def clip(x, lo, hi):
    return min(max(x, lo), hi)


@jit
def cdiv(a, b):
    """a / b of integers, toward zero, as C divides; b != 0."""
    q = abs(a) // abs(b)
    return q if (a >= 0) == (b >= 0) else -q


@jit
def half_away64(x):
    return math.trunc(x + math.copysign(BELOW_HALF_64, x))


@jit
def half_away32(x):
    return np.int64(math.trunc(np.float32(x + np.float32(math.copysign(BELOW_HALF_32, x)))))  # type: ignore[arg-type]


@jit
def rdhm(a, b):
    return min(
        (np.int64(a) * np.int64(b) + (np.int64(1) << np.int64(30))) >> np.int64(31), INT32_MAX
    )


@jit
def pot_away(x, exponent):
    mask = (np.int64(1) << np.int64(exponent)) - 1
    threshold = (mask >> np.int64(1)) + (1 if x < 0 else 0)
    return (x >> np.int64(exponent)) + (1 if (x & mask) > threshold else 0)


@jit
def pot_up(x, exponent):
    return (x + ((np.int64(1) << np.int64(exponent)) >> np.int64(1))) >> np.int64(exponent)


@jit
def high(x, multiplier, left):
    """The high product after the left shift, both of DBL and of UP."""
    return rdhm(wrap32(np.int64(x) << np.int64(left)), multiplier)


@jit
def dbl(x, multiplier, shift):
    """multiply_double."""
    return pot_away(high(x, multiplier, max(shift, 0) & 31), max(-shift, 0))


@jit
def up(x, multiplier, shift):
    """multiply_up."""
    return pot_up(high(x, multiplier, min(max(shift, 0), 32)), max(-shift, 0))


@jit
def single(x, multiplier, shift):
    """multiply_single."""
    total = np.int64(31 - shift)
    return (np.int64(x) * np.int64(multiplier) + (np.int64(1) << (total - 1))) >> total


@jit
def float64(x, factor):
    """multiply_float64."""
    product = min(max(np.float64(x) * factor, -4611686018427387904.0), 4611686018427387904.0)
    return np.int64(half_away64(product))


@jit
def m64(x, reduced, shift):
    """multiply_int64, with the 16-bit multiplier of reduce_multiplier."""
    total = np.int64(15 - shift)
    half = np.int64(1) << (total - np.int64(1) & np.int64(63))
    return wrap32((np.int64(x) * np.int64(reduced) + half) >> (total & np.int64(63)))


@jit
def xf(x, scale, zero_point, qmin, qmax):
    """requantize_xnnpack: an int32 accumulator and a float32 scale -> the clamped output."""
    product = np.float32(np.float32(x) * np.float32(scale))
    product = min(product, np.float32(qmax - zero_point))
    product = max(product, np.float32(qmin - zero_point - 1))
    return clip(np.int64(np.rint(product)) + zero_point, qmin, qmax)
