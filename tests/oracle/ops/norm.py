"""QUANTIZE, DEQUANTIZE, FAKE_QUANT, SOFTMAX, LOG_SOFTMAX, L2_NORMALIZATION, value by value."""

from __future__ import annotations

import ctypes
import ctypes.util
import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache

from tests import oracle as o
from tests.oracle.stage import steps
from tests.oracle.task import Answer, Operand, Task, count, indices, oracle

ONE = Fraction(1)
BITS = {"int2": (-2, 1), "uint4": (0, 15)}


def ends(t: Operand) -> tuple[int, int]:
    return BITS.get(t.dtype) or (t.qmin, t.qmax)


# --- QUANTIZE, DEQUANTIZE, FAKE_QUANT -------------------------------------------------------------


def as_int32(x: o.Real, rounding: Callable[[Fraction], int]) -> int:
    """A float converted to int32 by x86: INT32_MIN for what does not fit."""
    if not o.is_finite(x):
        return o.INT32_MIN
    found = rounding(x)
    return found if o.INT32_MIN <= found <= o.INT32_MAX else o.INT32_MIN


def to_steps(task: Task, x: o.Real, s: Fraction, position: int, length: int) -> int:
    """A float in steps of s, before the zero point."""
    y = task.y
    if task.path == "xnnpack":
        t = o.f32(o.mul(x, o.f32(ONE / s)))
        if o.is_nan(t) or t > 32767:
            return 32767
        return -(2**31) if t == -o.INF else o.half_even(t)
    vector = task.path == "optimized" and y.dtype in ("int8", "uint8", "int16")
    if not vector or len(y.scales) > 1:
        return as_int32(o.f32(o.div(x, s)), o.half_away)
    if position < length - length % 8:
        return as_int32(o.f32(o.mul(x, o.f32(o.f64(ONE / s)))), o.half_even)
    return as_int32(o.f64(o.div(x, s)), o.half_away)


def channel(t: Operand, index: tuple[int, ...]) -> tuple[Fraction, int]:
    """Scale and zero point of the element at an index."""
    at = index[t.axis] if len(t.scales) > 1 else 0
    return t.scales[at], t.zero_points[at if len(t.zero_points) > 1 else 0]


@oracle("QUANTIZE")
def quantize(task: Task) -> list[Answer]:
    x, y = task.x(), task.y
    low, high = ends(y)
    values = []
    for position, index in enumerate(indices(x.shape)):
        value = x.values[position]
        s, z = channel(y, index)
        if x.dtype == "float32":
            found = to_steps(task, value, s, position, len(x.values)) + z
        elif task.path == "xnnpack":
            multiplier = o.half_even(256 * o.f32(x.scale / s))
            found = math.floor(Fraction((value - x.zero_point) * multiplier + 128, 256)) + z
        else:
            eight = "8" in x.dtype and "8" in y.dtype and task.path == "optimized"
            acc, factor = o.wrap(value - x.zero_point, 32), o.f64(x.scale / s)
            rule = "MIX16" if eight else "DBL"
            found = steps(rule, acc, factor, position, len(x.values)) + z
        if task.path != "xnnpack":
            found = o.wrap(found, 32)
        values.append(o.clip(found, low, high))
    return [(x.shape, values)]


@oracle("DEQUANTIZE")
def dequantize(task: Task) -> list[Answer]:
    x = task.x()
    if x.dtype == "float16":
        return [(x.shape, x.values)]
    values = []
    for position, index in enumerate(indices(x.shape)):
        s, z = channel(x, index)
        q = x.values[position]
        block = position < len(x.values) - len(x.values) % 8
        if task.path == "optimized" and len(x.scales) == 1 and block:
            values.append(o.f32(o.f32(q * s) + o.f32(-z * s)))
        else:
            values.append(o.f32((q - z) * s))
    return [(x.shape, values)]


@oracle("FAKE_QUANT")
def fake_quant(task: Task) -> list[Answer]:
    x = task.x()
    lo, hi = o.f32(task.option("min")), o.f32(task.option("max"))
    top = 2 ** task.option("num_bits") - 1
    s = o.f32(o.f32(hi - lo) / top)
    z = o.clip(o.half_away(o.f32(-lo / s)), 0, top)
    low, high = o.f32(-z * s), o.f32((top - z) * s)
    inverse = o.f32(ONE / s)

    def point(v: Fraction) -> o.Real:
        shifted = o.f32(min(max(v, low), high) - low)
        return o.f32(o.f32(o.half_away(o.f32(shifted * inverse)) * s) + low)

    return [(x.shape, [point(v) for v in x.values])]


# --- fixed point of 32 bits -----------------------------------------------------------------------


def shifted(x: int, exponent: int) -> int:
    """x * 2^exponent: saturated to the left, half away to the right."""
    if exponent < 0:
        return o.pot_away(x, -exponent)
    return o.clip(x * 2**exponent, o.INT32_MIN, o.INT32_MAX)


def q0(x: float) -> int:
    """A real constant in Q0.31."""
    return o.half_away(Fraction(x) * 2**31)


def exponential(x: int) -> int:
    """exp of x in Q5.26, x <= 0, in Q0.31: Taylor around -1/8 for the last quarter, then a factor
    exp(-2^(j - 2)) for each bit j of the number of quarters."""
    if x == 0:
        return 2**31 - 1
    quarter = 2**24
    part = x % quarter - quarter
    t = part * 32 + 2**28  # Q0.31, around -1/8
    square = o.rdhm(t, t)
    cube, fourth = o.rdhm(square, t), o.rdhm(square, square)
    series = o.pot_away(o.rdhm(o.pot_away(fourth, 2) + cube, q0(1 / 3)) + square, 1)
    found = q0(math.exp(-1 / 8))
    found += o.rdhm(found, t + series)
    for j in range(7):
        if (part - x) // quarter >> j & 1:
            found = o.rdhm(found, q0(math.exp(-(2.0 ** (j - 2)))))
    return found


def reciprocal(x: int) -> int:
    """1 / (1 + x), Q0.31 to Q0.31, x in [0, 1): Newton on (1 + x) / 2 in Q2.29."""
    half = o.half_away(Fraction(x + 2**31 - 1, 2))
    y = o.half_away(Fraction(48 * 2**29, 17)) + o.rdhm(half, o.half_away(Fraction(-32 * 2**29, 17)))
    for _ in range(3):
        y += shifted(o.rdhm(y, 2**29 - o.rdhm(half, y)), 2)
    return shifted(y, 1)


def clz(x: int) -> int:
    return 32 - x.bit_length()


def logarithm(x: int) -> int:
    """log of x >= 1 in Q12.19, in Q5.26."""
    root = q0(math.sqrt(0.5))
    fourth_root = q0(math.sqrt(math.sqrt(0.5)))
    two = math.sqrt(math.sqrt(2.0))
    quarter = o.pot_away(2**29, 6)  # 1/4 in Q6.25
    zeros = clz(x)
    a = shifted(o.rdhm(shifted(x, zeros - 1), root), 1)
    a_power = shifted(12 - zeros, 25) + quarter
    room = clz(o.rdhm(x, root)) - 1
    b, b_power = shifted(x, room), shifted(12 - room, 25) - quarter
    r, power = min(a, b), max(a_power, b_power)
    p, q = o.half_away(Fraction(r + fourth_root, 2)), 2 * (r - fourth_root)
    square = o.rdhm(q, q)
    above = o.rdhm(q, r) + o.rdhm(o.rdhm(q, square), q0(11 / 240 * two))
    slope = q0(2 / two - two) + q + o.rdhm(q0(1 / 20 * two), square)
    below = o.rdhm(p, slope) + o.rdhm(q0(1 / 4 * two), q)
    quotient = o.rdhm(shifted(above, -6), reciprocal(below))
    return shifted(o.rdhm(power, q0(math.log(2.0))) + quotient, 1)


def inverse_root(x: int) -> tuple[int, int]:
    """1 / sqrt(x) as multiplier and shift, five Newton steps in Q3.28."""
    if x <= 1:
        return 2**31 - 1, 0
    right = 11
    while x >= 2**29:
        x, right = x // 4, right + 1
    pairs = (clz(x) - 1) // 2 - 1
    value = x * 4**pairs // 2
    half, y = o.half_away(Fraction(value, 2)), 2**28
    for _ in range(5):
        cube = shifted(o.rdhm(o.rdhm(y, y), y), 6)
        y = shifted(o.rdhm(3 * 2**27, y) - o.rdhm(half, cube), 3)
    y, right = o.rdhm(y, q0(math.sqrt(2.0) / 2)), right - pairs
    return y * 2 ** max(-right, 0), -max(right, 0)


# --- SOFTMAX, LOG_SOFTMAX, L2_NORMALIZATION -------------------------------------------------------


def by_row(task: Task, row: Callable[[list[int]], list[int]]) -> list[Answer]:
    """The function applied to each row of the last axis."""
    x = task.x()
    depth = x.shape[-1]
    values: list[int] = []
    for start in range(0, count(x.shape), depth):
        values += row(x.values[start : start + depth])
    return [(x.shape, values)]


@cache
def expf() -> Callable[[float], float]:
    function = ctypes.CDLL(ctypes.util.find_library("m")).expf
    function.argtypes, function.restype = [ctypes.c_float], ctypes.c_float
    return function


@cache
def logf() -> Callable[[float], float]:
    function = ctypes.CDLL(ctypes.util.find_library("m")).logf
    function.argtypes, function.restype = [ctypes.c_float], ctypes.c_float
    return function


class Fixed:
    """Differences of a row in Q5.26 and their exponentials."""

    def __init__(self, task: Task, beta: Fraction):
        factor = min(o.f64(o.f64(beta * task.x().scale) * 2**26), Fraction(2**31 - 1))
        self.multiplier, self.shift = o.quantize_multiplier(factor)
        self.least = -math.floor(Fraction(31 * 2**26, 2**self.shift))

    def scaled(self, difference: int) -> int:
        return o.rdhm(difference * 2**self.shift, self.multiplier)

    def power(self, difference: int) -> int:
        return exponential(self.scaled(difference)) if difference >= self.least else 0

    def sum(self, row: list[int]) -> int:
        top = max(row)
        return sum(o.pot_away(self.power(v - top), 12) for v in row) % 2**32


def float_powers(
    row: list[int], scale: Fraction, beta: Fraction
) -> tuple[list[Fraction], Fraction]:
    """exp of the differences of a row and their sum, in order, float32."""
    top, product = max(row), o.f32(-scale * beta)
    powers = [Fraction(expf()(float(o.f32(product * (top - v))))) for v in row]
    total = Fraction(0)
    for power in powers:
        total = o.f32(total + power)
    return powers, total


@cache
def table(f: Callable[[float], float], scale: float, zero: int) -> list[int]:
    """513 nodes of f over int16 in double precision, outputs in steps of 2/65535."""
    low, high = scale * (-32768 - zero), scale * (32767 - zero)
    step, unit = (high - low) / 512, 2 / 65535
    inverse = 65536 / (unit * 32767 - unit * -32768)

    def away(x: float) -> int:
        return o.half_away(Fraction(x))

    found = []
    for i in range(512):
        at = low + i * step
        start = away(f(at) * inverse)
        chord = away((f(low + (i + 1) * step) * inverse + start) / 2)
        bias = away((chord - away(f(at + step / 2) * inverse)) / 2)
        found.append(o.clip(start - bias, -32768, 32767))
    return [*found, o.clip(away(f(high) * inverse), -32768, 32767)]


def inverse_of(x: float) -> float:
    return 1 / (1 + x)


def interpolated(v: int, nodes: list[int]) -> int:
    cell, rest = 256 + v // 128, v % 128
    return nodes[cell] + ((nodes[cell + 1] - nodes[cell]) * rest + 64) // 128


@oracle("SOFTMAX")
def softmax(task: Task) -> list[Answer]:
    x, y = task.x(), task.y
    beta = o.f32(task.option("beta", 1))

    def fixed(row: list[int]) -> list[int]:
        f, top = Fixed(task, beta), max(row)
        total = f.sum(row)
        zeros = clz(total)
        scale = reciprocal(total * 2**zeros - 2**31)
        shift = 12 - zeros + 31 - y.bits
        found = [o.pot_away(o.rdhm(scale, f.power(v - top)), shift) + y.qmin for v in row]
        return [o.clip(v, y.qmin, y.qmax) for v in found]

    def floats(row: list[int]) -> list[int]:
        powers, total = float_powers(row, x.scale, beta)
        inverse = o.f32(ONE / o.f32(total * y.scale))
        scaled = [o.f32(p * inverse) for p in powers]
        if y.dtype == "uint8":
            found = [o.toward_zero(o.f32(t + Fraction(1, 2))) for t in scaled]
        else:
            found = [o.half_away(t) + y.zero_point for t in scaled]
        return [o.clip(v, y.qmin, y.qmax) for v in found]

    def sixteen(row: list[int]) -> list[int]:
        exps, inverses = table(math.exp, 10 / 65535, 32767), table(inverse_of, 1 / 65535, -32768)
        factor = o.f64(o.f32(x.scale * beta) / Fraction(10 / 65535))
        multiplier, shift = o.quantize_multiplier(factor)
        top = max(row)
        at = [o.multiply_double(v - top, multiplier, shift) + 32767 for v in row]
        powers = [interpolated(o.clip(v, -32768, 32767), exps) for v in at]
        total = sum(powers)
        zeros = clz(total)
        mantissa = (total * 2 ** (zeros - 1) + 2**13) // 2**14 - 98304
        inverse = interpolated(o.clip(mantissa, -32768, 32767), inverses)
        down = Fraction(1, 2 ** (31 - zeros))
        return [o.clip(o.half_up(p * inverse * down), 0, 32767) for p in powers]

    if x.dtype == "int16":
        return by_row(task, sixteen)
    return by_row(task, fixed if task.path == "reference" else floats)


@oracle("LOG_SOFTMAX")
def log_softmax(task: Task) -> list[Answer]:
    x, y = task.x(), task.y

    def fixed(row: list[int]) -> list[int]:
        f, top = Fixed(task, ONE), max(row)
        log = logarithm(f.sum(row))
        reverse = o.quantize_multiplier(o.f64(Fraction(2 ** (31 - f.shift), f.multiplier)))
        least = max(f.least - 1, o.multiply_double(log - 2**31, *reverse))
        return [
            o.clip(o.pot_away(f.scaled(v - top) - log, 22) + y.qmax, y.qmin, y.qmax)
            if v - top > least else y.qmin
            for v in row
        ]  # fmt: skip

    def floats(row: list[int]) -> list[int]:
        _, total = float_powers(row, x.scale, ONE)
        log = Fraction(logf()(float(total)))
        factor = o.f32(x.scale / y.scale)
        offset = o.f32(o.f32(o.f32(x.scale * max(row)) + log) / y.scale)
        found = [o.half_even(o.f32(o.f32(factor * v) - offset)) + y.zero_point for v in row]
        return [o.clip(v, y.qmin, y.qmax) for v in found]

    return by_row(task, fixed if task.path == "reference" else floats)


@oracle("L2_NORMALIZATION")
def l2_normalization(task: Task) -> list[Answer]:
    x, y = task.x(), task.y

    def unit(row: list[int]) -> list[int]:
        centred = [v - x.zero_point for v in row]
        multiplier, shift = inverse_root(sum(v * v for v in centred))
        if y.dtype == "int8":
            found = [o.multiply_double(v, multiplier, shift + 7) for v in centred]
        else:
            found = [o.multiply_double(128 * v, multiplier, shift) + 128 for v in centred]
        return [o.clip(v, y.qmin, y.qmax) for v in found]

    return by_row(task, unit)
