"""Transcendental functions in fixed point, as gemmlowp and LiteRT compute them (E40).

A value of the format Qm is an int16 or int32 `raw` that stands for raw * 2^(m - (bits - 1)): m
integer bits beside the sign, so Q0 covers [-1, 1) and Q3 of 16 bits has 12 fraction bits (Q3.12).
`bits` is 16 or 32, `integer_bits` is m. Raw values are held in int64; those of a smaller type may
be given. Q0 has no 1: the largest raw value stands for it.

What jitted loops need has a twin on single int64 values: `..._scalar`; import it by name.

Sources: gemmlowp fixedpoint/fixedpoint.h; LiteRT kernels/internal/common.h (get_reciprocal,
log_from_one, inverse_sqrt) and reference/hard_swish.h (high_mul_toward_zero).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from kernels.fixedpoint import pot_away, wrap32
from kernels.jit import jit
from kernels.scalar import clip as clip_scalar
from kernels.scalar import pot_away as pot_away_scalar
from kernels.scalar import wrap32 as wrap32_scalar

# exp(-2^(k - 2)), k = 0..6, in Q0 of 32 bits.
EXP_OF_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
EXP_OF_EIGHTH = 1895147668  # exp(-1/8)
ONE_THIRD = 715827883
START, SLOPE = 1515870810, -1010580540  # 48/17 and -32/17 in Q2: first guess of a reciprocal
HALF_SQRT_2 = 1518500250  # sqrt(1/2)
LOG_2 = 1488522236
QUARTER_ROOT_HALF = 1805811301  # sqrt(sqrt(1/2))
ALPHA_N, ALPHA_D, ALPHA_I, ALPHA_F = 117049297, 127690142, 1057819769, 638450708


def high_mul(a: ArrayLike, b: ArrayLike, bits: int = 32) -> np.ndarray:
    """Product of two Q0 values, ties toward +infinity: Qm * Qn is Q(m+n) of the same bits (E23).

    Only lowest * lowest leaves the type; it becomes the largest value.
    """
    product = _int64(a) * _int64(b)
    return np.minimum((product + (1 << (bits - 2))) >> (bits - 1), 2 ** (bits - 1) - 1)


def high_mul_toward_zero(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """The same of 16 bits, rounded toward zero (HARD_SWISH)."""
    product = _int64(a) * _int64(b)
    return np.minimum(np.where(product < 0, -(-product >> 15), product >> 15), 2**15 - 1)


def saturating_shift(x: ArrayLike, exponent: ArrayLike, bits: int = 32) -> np.ndarray:
    """x * 2^exponent: saturates to the left, rounds ties away from zero to the right."""
    x, exponent = _int64(x), _int64(exponent)
    left = _clip(x << np.maximum(exponent, 0), bits)
    return np.where(exponent >= 0, left, pot_away(x, np.maximum(-exponent, 0)))


def half_sum(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """(a + b) / 2, ties away from zero."""
    return pot_away(_int64(a) + _int64(b), 1)


def exp_on_negative_values(x: ArrayLike, integer_bits: int, bits: int = 32) -> np.ndarray:
    """exp(x) in Q0 of x <= 0 in Q`integer_bits`; 1 (the largest value) at 0 (E40).

    Softmax: Q5 of 32 bits; LSTM and LOGISTIC: Q3, TANH: Q(m+1), of 16 bits.
    """
    x = _int64(x)
    fraction = bits - 1 - integer_bits
    quarter = 1 << (fraction - 2)
    part = (x & (quarter - 1)) - quarter  # in [-1/4, 0)
    found = _exp_on_last_quarter(saturating_shift(part, integer_bits, bits), bits)
    rest = part - x
    for k, power in enumerate(EXP_OF_POWERS):
        if integer_bits > k - 2:
            smaller = high_mul(found, _constant(power, bits), bits)
            found = np.where(rest & (1 << (fraction + k - 2)), smaller, found)
    if integer_bits > 5:
        lowest = _constant(-(1 << (36 - integer_bits)), bits)  # -32
        found = np.where(x < lowest, 0, found)
    return np.where(x == 0, 2 ** (bits - 1) - 1, found)


def one_over_one_plus_x(x: ArrayLike, bits: int = 32) -> np.ndarray:
    """1 / (1 + x), Q0 to Q0, for x in [0, 1): three Newton steps from 48/17 - 32/17 d (E40)."""
    return saturating_shift(_newton(x, bits), 1, bits)


def one_minus_x_over_one_plus_x(x: ArrayLike, bits: int = 32) -> np.ndarray:
    """(1 - x) / (1 + x), Q0 to Q0, for x in [0, 1) (E40)."""
    return saturating_shift(_newton(x, bits) - (1 << (bits - 3)), 2, bits)


def logistic(x: ArrayLike, integer_bits: int, bits: int = 16) -> np.ndarray:
    """1 / (1 + exp(-x)), Q`integer_bits` to Q0; any x (E40)."""
    x = _int64(x)
    one = 2 ** (bits - 1) - 1
    upper = one_over_one_plus_x(exp_on_negative_values(-np.abs(x), integer_bits, bits), bits)
    return np.where(x == 0, _constant(1 << 30, bits), np.where(x > 0, upper, one - upper))


def tanh(x: ArrayLike, integer_bits: int, bits: int = 16) -> np.ndarray:
    """tanh(x), Q`integer_bits` to Q0; any x (E40)."""
    x = _int64(x)
    # The same raw value with one integer bit more stands for 2 x.
    power = exp_on_negative_values(-np.abs(x), integer_bits + 1, bits)
    return np.sign(x) * one_minus_x_over_one_plus_x(power, bits)


def get_reciprocal(x: ArrayLike, integer_digits: int) -> tuple[np.ndarray, np.ndarray]:
    """1 / x of x > 0 in Q`integer_digits` of 32 bits, as (scale, bits over unit).

    scale: Q0 of x reduced to [1, 2).  bits over unit: 1 / x is scale * 2^-(that).
    """
    x = _int64(x)
    zeros = leading_zeros(x)
    scale = one_over_one_plus_x(wrap32((x << zeros) - (1 << 31)))
    return scale, integer_digits - zeros


def inverse_sqrt(x: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """1 / sqrt(x) of an integer x in [0, 2^31) as multiplier and shift (> 0 to the left) (E41).

    Five Newton steps from 1 in Q3 of 32 bits. 0 counts as 1, whose multiplier is 2^31 - 1.
    """
    x = _int64(x)
    right = np.full(x.shape, 11, np.int64)
    for _ in range(2):
        big = x >= 1 << 29
        x, right = np.where(big, x >> 2, x), np.where(big, right + 1, right)
    pairs = (leading_zeros(np.maximum(x, 1)) - 1) // 2 - 1
    right = right - pairs
    value = (x << (2 * np.maximum(pairs, 0))) >> 1
    half = pot_away(value, 1)
    y = np.full(x.shape, 1 << 28, np.int64)
    for _ in range(5):
        cube = saturating_shift(high_mul(high_mul(y, y), y), 6)
        y = saturating_shift(wrap32(high_mul(3 << 27, y) - high_mul(half, cube)), 3)
    y = wrap32(high_mul(y, HALF_SQRT_2) << np.maximum(-right, 0))
    small = x <= 1
    return np.where(small, 2**31 - 1, y), np.where(small, 0, -np.maximum(right, 0))


def log_from_one(x: ArrayLike, integer_bits: int, output_integer_bits: int) -> np.ndarray:
    """log(x), Q`integer_bits` to Q`output_integer_bits` of 32 bits, for x >= 1 (LOG_SOFTMAX)."""
    x = _int64(x)
    wide = output_integer_bits + 1  # one bit more while adding
    quarter = pot_away(1 << 29, wide)
    zeros = leading_zeros(x)
    root = high_mul(saturating_shift(x, zeros - 1), HALF_SQRT_2)
    first = saturating_shift(root, 1)
    first_power = _clip(saturating_shift(integer_bits - zeros, 31 - wide) + quarter, 32)
    room = leading_zeros(high_mul(x, HALF_SQRT_2)) - 1
    second = saturating_shift(x, room)
    second_power = _clip(saturating_shift(integer_bits - room, 31 - wide) - quarter, 32)
    r, power = np.minimum(first, second), np.maximum(first_power, second_power)
    p = half_sum(r, QUARTER_ROOT_HALF)
    q = wrap32(2 * (r - QUARTER_ROOT_HALF))
    square = high_mul(q, q)
    above = wrap32(high_mul(q, r) + high_mul(high_mul(q, square), ALPHA_N))
    below = high_mul(p, wrap32(ALPHA_I + q + high_mul(ALPHA_D, square))) + high_mul(ALPHA_F, q)
    ratio = high_mul(saturating_shift(above, -wide), one_over_one_plus_x(wrap32(below)))
    return saturating_shift(wrap32(high_mul(power, LOG_2) + ratio), 1)


def leading_zeros(x: ArrayLike) -> np.ndarray:
    """Zero bits above the highest one of a 32-bit x >= 0; 32 for 0."""
    return 32 - np.frexp(_int64(x).astype(np.float64))[1].astype(np.int64)


@cache
def logistic_table(integer_bits: int) -> np.ndarray:
    """`logistic` of every int16, at index x & 0xFFFF (x as uint16); (65536,) int16, read only."""
    return _table(logistic(_CODES, integer_bits))


@cache
def tanh_table(integer_bits: int) -> np.ndarray:
    """`tanh` of every int16, likewise."""
    return _table(tanh(_CODES, integer_bits))


_CODES = np.arange(65536, dtype=np.uint16).astype(np.int16)


def _table(values: np.ndarray) -> np.ndarray:
    found = values.astype(np.int16)
    found.flags.writeable = False
    return found


def _exp_on_last_quarter(x: np.ndarray, bits: int) -> np.ndarray:
    """exp(x), Q0 to Q0, for x in [-1/4, 0): Taylor polynomial of degree 4 around -1/8."""
    middle = _constant(EXP_OF_EIGHTH, bits)
    x = x + (1 << (bits - 4))
    x2 = high_mul(x, x, bits)
    x3, x4 = high_mul(x2, x, bits), high_mul(x2, x2, bits)
    cubic = high_mul(pot_away(x4, 2) + x3, _constant(ONE_THIRD, bits), bits)
    return _clip(middle + high_mul(middle, x + pot_away(cubic + x2, 1), bits), bits)


def _newton(x: ArrayLike, bits: int) -> np.ndarray:
    """2 / (1 + x) in Q2, for x in [0, 1) in Q0."""
    half = half_sum(x, 2 ** (bits - 1) - 1)
    y = _constant(START, bits) + high_mul(half, _constant(SLOPE, bits), bits)
    for _ in range(3):
        error = (1 << (bits - 3)) - high_mul(half, y, bits)
        y = y + saturating_shift(high_mul(y, error, bits), 2, bits)
    return y


def _constant(value: int, bits: int) -> int:
    """A 32-bit constant in this many bits; ties away from zero."""
    return int(pot_away(value, 32 - bits))


def _clip(x: np.ndarray, bits: int) -> np.ndarray:
    return np.clip(x, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _int64(x: ArrayLike) -> np.ndarray:
    return np.asarray(x).astype(np.int64, copy=False)


@jit
def high_mul_scalar(a, b, bits):
    product = np.int64(a) * np.int64(b)
    return min((product + (np.int64(1) << np.int64(bits - 2))) >> np.int64(bits - 1),
               (np.int64(1) << np.int64(bits - 1)) - 1)  # fmt: skip


@jit
def saturating_shift_scalar(x, exponent, bits):
    if exponent < 0:
        return pot_away_scalar(np.int64(x), -exponent)
    top = np.int64(1) << np.int64(bits - 1)
    return clip_scalar(np.int64(x) << np.int64(exponent), -top, top - 1)


@jit
def half_sum_scalar(a, b):
    return pot_away_scalar(np.int64(a) + np.int64(b), 1)


@jit
def exp_on_negative_values_scalar(x, integer_bits, bits):
    x = np.int64(x)
    top = (np.int64(1) << np.int64(bits - 1)) - 1
    if x == 0:
        return top
    if integer_bits > 5:
        if x < _constant_scalar(-(np.int64(1) << np.int64(36 - integer_bits)), bits):
            return np.int64(0)
    fraction = bits - 1 - integer_bits
    quarter = np.int64(1) << np.int64(fraction - 2)
    part = (x & (quarter - 1)) - quarter
    found = _exp_on_last_quarter_scalar(saturating_shift_scalar(part, integer_bits, bits), bits)
    rest = part - x
    for k in range(7):
        if integer_bits > k - 2 and rest & (np.int64(1) << np.int64(fraction + k - 2)):
            found = high_mul_scalar(found, _constant_scalar(EXP_OF_POWERS[k], bits), bits)
    return found


@jit
def one_over_one_plus_x_scalar(x, bits):
    return saturating_shift_scalar(_newton_scalar(x, bits), 1, bits)


@jit
def one_minus_x_over_one_plus_x_scalar(x, bits):
    one = np.int64(1) << np.int64(bits - 3)
    return saturating_shift_scalar(_newton_scalar(x, bits) - one, 2, bits)


@jit
def tanh_scalar(x, integer_bits, bits):
    x = np.int64(x)
    if x == 0:
        return np.int64(0)
    found = one_minus_x_over_one_plus_x_scalar(
        exp_on_negative_values_scalar(-abs(x), integer_bits + 1, bits), bits
    )
    return found if x > 0 else -found


@jit
def get_reciprocal_scalar(x, integer_digits):
    zeros = leading_zeros_scalar(x)
    mantissa = wrap32_scalar((np.int64(x) << np.int64(zeros)) - (np.int64(1) << np.int64(31)))
    return one_over_one_plus_x_scalar(mantissa, 32), integer_digits - zeros


@jit
def inverse_sqrt_scalar(x):
    x = np.int64(x)
    if x <= 1:
        return np.int64(2147483647), np.int64(0)
    right = np.int64(11)
    while x >= 1 << 29:
        x >>= 2
        right += 1
    pairs = (leading_zeros_scalar(x) - 1) // 2 - 1
    right -= pairs
    value = (x << np.int64(2 * pairs)) >> 1
    half = pot_away_scalar(value, 1)
    y = np.int64(1 << 28)
    for _ in range(5):
        cube = saturating_shift_scalar(high_mul_scalar(high_mul_scalar(y, y, 32), y, 32), 6, 32)
        step = high_mul_scalar(3 << 27, y, 32) - high_mul_scalar(half, cube, 32)
        y = saturating_shift_scalar(wrap32_scalar(step), 3, 32)
    y = high_mul_scalar(y, HALF_SQRT_2, 32)
    if right < 0:
        return wrap32_scalar(y << np.int64(-right)), np.int64(0)
    return y, -right


@jit
def leading_zeros_scalar(x):
    found = np.int64(32)
    x = np.int64(x)
    while x > 0:
        x >>= 1
        found -= 1
    return found


@jit
def _exp_on_last_quarter_scalar(x, bits):
    middle = _constant_scalar(EXP_OF_EIGHTH, bits)
    x = x + (np.int64(1) << np.int64(bits - 4))
    x2 = high_mul_scalar(x, x, bits)
    x3 = high_mul_scalar(x2, x, bits)
    x4 = high_mul_scalar(x2, x2, bits)
    third = _constant_scalar(ONE_THIRD, bits)
    cubic = high_mul_scalar(pot_away_scalar(x4, 2) + x3, third, bits)
    top = np.int64(1) << np.int64(bits - 1)
    found = middle + high_mul_scalar(middle, x + pot_away_scalar(cubic + x2, 1), bits)
    return clip_scalar(found, -top, top - 1)


@jit
def _newton_scalar(x, bits):
    half = half_sum_scalar(x, (np.int64(1) << np.int64(bits - 1)) - 1)
    y = _constant_scalar(START, bits) + high_mul_scalar(half, _constant_scalar(SLOPE, bits), bits)
    for _ in range(3):
        error = (np.int64(1) << np.int64(bits - 3)) - high_mul_scalar(half, y, bits)
        y = y + saturating_shift_scalar(high_mul_scalar(y, error, bits), 2, bits)
    return y


@jit
def _constant_scalar(value, bits):
    return pot_away_scalar(np.int64(value), 32 - bits)
