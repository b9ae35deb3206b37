"""Operators of one variable, value by value, each from its definition.

The functions themselves are the C library's, in float32: what a table holds depends on their last
bits, and there is no other definition of those.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

from tests import oracle as o
from tests.oracle import Real
from tests.oracle.task import Answer, Operand, Task, oracle

Float = Callable[[Real], Real]
HALF, ONE = Fraction(1, 2), Fraction(1)


@cache
def lib(name: str) -> Float:
    """A float32 function of the C library."""
    found = getattr(ctypes.CDLL(ctypes.util.find_library("m")), name)
    found.argtypes, found.restype = [ctypes.c_float], ctypes.c_float
    return lambda x: o.exact(found(float(x)))


def answer(task: Task, at: Callable[[int], int]) -> list[Answer]:
    """at(code) for every value, each code once."""
    x = task.x()
    assert x.values is not None
    known = {q: at(q) for q in set(x.values)}
    return [(x.shape, [known[q] for q in x.values])]


# --- tables ---------------------------------------------------------------------------------------


def to_int32(x: Real) -> int:
    """As x86 converts: what does not fit is the lowest integer."""
    if not o.is_finite(x) or not -(2**31) <= math.trunc(x) < 2**31:
        return o.INT32_MIN
    return math.trunc(x)


def rounded(x: Real) -> Real:
    return Fraction(o.half_away(x)) if o.is_finite(x) else x


def entry(task: Task, q: int, f: Float) -> int:
    """Round, add the zero point, clip; XNNPACK: add the zero point, round, clip."""
    x, y = task.x(), task.y
    real = o.f32(x.scale * (q - x.zero_point))
    steps = o.f32(o.mul(f(real), o.f32(1 / y.scale)))
    zero = Fraction(y.zero_point)
    if task.path == "xnnpack":
        rounding = o.half_even if task.runtime == "litert" else o.half_away
        return o.saturate(o.f32(o.add(steps, zero)), 0, y.qmin, y.qmax, rounding)
    return o.saturate(o.f32(o.add(rounded(steps), zero)), 0, y.qmin, y.qmax, o.toward_zero)


def nodes(x: Operand, y: Operand, f: Float) -> Callable[[int], int]:
    """Node i of the 513 over int16."""
    low, high = (o.f32(x.scale * (end - x.zero_point)) for end in (-32768, 32767))
    step = o.f32(o.f32(high - low) / 512)
    ends = [o.f32(y.scale * (end - y.zero_point)) for end in (-32768, 32767)]
    inverse = o.f32(65536 / o.f32(ends[1] - ends[0]))

    def steps(at: Real) -> Real:
        return o.f32(o.mul(f(at), inverse))

    @cache
    def node(i: int) -> int:
        if i == 512:
            found = rounded(steps(high))
        else:
            at = o.f32(low + o.f32(i * step))
            start = rounded(steps(at))
            after = steps(o.f32(low + o.f32((i + 1) * step)))
            chord = rounded(o.f32(o.f32(o.add(after, start)) / 2 if o.is_finite(after) and
                                  o.is_finite(start) else o.add(after, start)))  # fmt: skip
            middle = rounded(steps(o.f32(at + o.f32(step / 2))))
            miss = o.f32(o.sub(chord, middle))
            bend = rounded(miss / 2)
            found = o.f32(o.sub(start, bend))
        if o.is_nan(found):
            return 0  # neither comparison of the clamp is true, and x86 converts it to 0
        return o.clip(int(found), -32768, 32767) if o.is_finite(found) else (
            32767 if found > 0 else -32768
        )  # fmt: skip

    return node


def look_up(task: Task, f: Float) -> list[Answer]:
    """By a table of f."""
    if task.x().dtype != "int16":
        return answer(task, lambda q: entry(task, q, f))
    node = nodes(task.x(), task.y, f)

    def at(q: int) -> int:
        cell, part = divmod(q + 32768, 128)
        slope = o.wrap(node(cell + 1) - node(cell), 16)
        return o.wrap(node(cell) + o.half_up(Fraction(slope * part, 128)), 16)

    return answer(task, at)


@oracle("EXP")
def exp(task: Task) -> list[Answer]:
    return look_up(task, lib("expf"))


@oracle("LOG")
def log(task: Task) -> list[Answer]:
    y = task.y
    least = o.f32(y.scale * (y.qmin - y.zero_point))
    return look_up(task, lambda x: least if x <= 0 else lib("logf")(x))


@oracle("ELU")
def elu(task: Task) -> list[Answer]:
    return look_up(task, lambda x: lib("expm1f")(x) if x < 0 else x)


@oracle("GELU")
def gelu(task: Task) -> list[Answer]:
    root_half = o.f32(o.exact(math.sqrt(0.5)))
    root_2_pi = o.f32(o.exact(math.sqrt(2 / math.pi)))

    def exactly(x: Real) -> Real:
        return o.f32(o.f32(HALF * x) * lib("erfcf")(o.f32(-x * root_half)))

    def by_tanh(x: Real) -> Real:
        cube = o.f32(o.f32(o.f32(o.f32(o.exact(0.044715)) * x) * x) * x)
        inner = o.f32(root_2_pi * o.f32(x + cube))
        return o.f32(o.f32(HALF * x) * o.f32(ONE + lib("tanhf")(inner)))

    return look_up(task, by_tanh if task.option("approximate", False) else exactly)


# --- LOGISTIC, TANH -------------------------------------------------------------------------------


@oracle("LOGISTIC")
def logistic(task: Task) -> list[Answer]:
    if task.x().dtype != "int16":
        return look_up(task, sigmoid_xnnpack if task.path == "xnnpack" else sigmoid)
    left = left_shift(task, (0,))
    if task.path != "reference" and left is not None:
        return answer(task, logistic16)
    scale = multiplier(task, left)
    # Nodes are 512 steps apart; 1.0 is 2^25 before the last shift.
    return answer(task, lambda q: mirrored(argument(q, scale), 512, 0x7FFF << 10, 25, 10))


@oracle("TANH")
def tanh(task: Task) -> list[Answer]:
    if task.x().dtype != "int16":
        return look_up(task, lib("tanhf"))
    left = left_shift(task, (0, 1))
    if task.path != "reference" and left is not None:
        return answer(task, lambda q: tanh16(o.clip(q * 2**left, -32768, 32767)))
    scale = multiplier(task, left)

    def at(q: int) -> int:
        d = argument(q, scale)
        above = interpolated(abs(d), 256, 0xFFFF << 8) - 2**23
        # Ties up on the right; the left is its mirror image less one step of 2^-8.
        return (above + 128) >> 8 if d >= 0 else (127 - above) >> 8

    return answer(task, at)


def sigmoid(x: Real) -> Real:
    return o.f32(o.div(ONE, o.f32(o.add(ONE, lib("expf")(-x)))))


def sigmoid_xnnpack(x: Real) -> Real:
    if abs(x) > 100:
        return Fraction(int(x > 0))
    power = o.exact(math.exp(float(x)))
    return o.f32(o.f64(power / o.f64(ONE + power)))


def left_shift(task: Task, allowed: tuple[int, ...]) -> int | None:
    """log2 of the input scale above 2^-12, where the official test calls it a power of two."""
    exponent = o.f32(lib("logf")(task.x().scale) * o.f32(1 / lib("logf")(Fraction(2))))
    nearest = o.half_away(exponent)
    near = abs(o.f32(exponent - nearest)) < o.f32(o.exact(1e-3))
    return nearest + 12 if near and nearest + 12 in allowed else None


def multiplier(task: Task, left: int | None) -> tuple[int, int]:
    if left is not None:
        return 3 * 2**left, 0
    real, shift = task.x().scale * 12288, 0
    while real <= Fraction(32767, 2) and shift <= 30:
        real, shift = real * 2, shift + 1
    return int(real), shift


def argument(q: int, scale: tuple[int, int]) -> int:
    product = o.wrap(q * scale[0], 32)
    return o.half_up(Fraction(product, 2 ** scale[1]))


def interpolated(d: int, width: int, end: int) -> int:
    """Between nodes of 65536 / (1 + exp(-i / 24)), `width` steps apart, times width."""
    cell, part = divmod(d, width)
    if cell >= 255:
        return end
    return sigmoid_node(cell) * (width - part) + sigmoid_node(cell + 1) * part


@cache
def sigmoid_node(i: int) -> int:
    """Lowered by half of what the chord to the next node misses in its middle."""
    if i == 255:
        return 65535

    def at(x: float) -> float:
        return 65536 / (1 + math.exp(-x / 24))

    miss = (at(i) + at(i + 1)) / 2 - at(i + 0.5)
    return o.half_away(o.exact(at(i) - miss / 2))


def mirrored(d: int, width: int, end: int, one: int, shift: int) -> int:
    above = interpolated(abs(d), width, end)
    half = 2 ** (shift - 1)
    return (above + half) >> shift if d >= 0 else (2**one - above + half - 1) >> shift


# --- gemmlowp's 16-bit fixed point ----------------------------------------------------------------


def mul16(a: int, b: int) -> int:
    return min(o.half_up(Fraction(a * b, 2**15)), 32767)


def sat16(x: int) -> int:
    return o.clip(x, -32768, 32767)


def constant16(value: float, integer_bits: int = 0) -> int:
    """A constant of 32 bits, rounded once more to 16."""
    wide = o.half_away(o.exact(value) * 2 ** (31 - integer_bits))
    return o.half_away(Fraction(wide, 2**16))


def exp16(a: int, integer_bits: int) -> int:
    """exp(a), a <= 0 with so many integer bits -> Q0."""
    if a == 0:
        return 32767
    fraction_bits = 15 - integer_bits
    quarter = 2 ** (fraction_bits - 2)
    last = a % quarter - quarter
    x = last * 2**integer_bits + 2**12  # around -1/8, in Q0
    x2 = mul16(x, x)
    x3, x4 = mul16(x2, x), mul16(x2, x2)
    tail = mul16(o.half_away(Fraction(x4, 4)) + x3, constant16(1 / 3)) + x2
    middle = constant16(math.exp(-1 / 8))
    y = sat16(middle + mul16(middle, x + o.half_away(Fraction(tail, 2))))
    rest = last - a
    for power in range(-2, integer_bits):
        if rest & 2 ** (fraction_bits + power):
            y = mul16(y, constant16(math.exp(-(2.0**power))))
    return y


def reciprocal16(a: int) -> int:
    """2 / (1 + a) in Q2, by Newton's steps."""
    half = o.half_away(Fraction(a + 32767, 2))
    x = constant16(48 / 17, 2) + mul16(half, constant16(-32 / 17, 2))
    for _ in range(3):
        x += sat16(mul16(x, 2**13 - mul16(half, x)) * 4)
    return x


def logistic16(q: int) -> int:
    """Q3 -> Q0."""
    if q == 0:
        return 2**14
    y = sat16(reciprocal16(exp16(-abs(q), 3)) * 2)
    return y if q > 0 else 32767 - y


def tanh16(q: int) -> int:
    """Q3 -> Q0."""
    y = sat16((reciprocal16(exp16(-abs(q), 4)) - 2**13) * 4)
    return y if q > 0 else -y if q < 0 else 0


# --- one multiplier on each side ------------------------------------------------------------------


def dbl(value: int, factor: Real) -> int:
    assert o.is_finite(factor)
    return o.multiply_double(value, *o.quantize_multiplier(factor))


def ratio(task: Task) -> Fraction:
    return o.f32(task.x().scale / task.y.scale)


def finished(task: Task, steps: int, lo: int | None = None, hi: int | None = None) -> int:
    y = task.y
    return o.clip(steps + y.zero_point, y.qmin if lo is None else lo, y.qmax if hi is None else hi)


@oracle("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")
def relu(task: Task) -> list[Answer]:
    lo, hi = {
        "RELU": (0, o.INF), "RELU6": (0, Fraction(6)), "RELU_N1_TO_1": (-1, Fraction(1)),
        "RELU_0_TO_1": (0, Fraction(1)),
    }[task.operator]  # fmt: skip
    y, z = task.y, task.x().zero_point
    ends = o.activation_range(Fraction(lo), hi, y.scale, y.zero_point, y.qmin, y.qmax)
    return answer(task, lambda q: finished(task, dbl(q - z, ratio(task)), *ends))


@oracle("ABS")
def absolute(task: Task) -> list[Answer]:
    x = task.x()
    if x.scales is None:
        return answer(task, lambda q: o.wrap(abs(q), x.bits))
    return answer(task, lambda q: finished(task, dbl(abs(q - x.zero_point), ratio(task))))


@oracle("LEAKY_RELU")
def leaky_relu(task: Task) -> list[Answer]:
    z = task.x().zero_point
    alpha = o.f32(Fraction(task.option("alpha", 0)))
    if task.path != "xnnpack":
        below = o.f32(o.f32(task.x().scale * alpha) / task.y.scale)
        newer = task.runtime == "litert" and (task.path == "reference" or task.x().dtype != "int16")

        def steps(q: int) -> int:
            if q >= z:
                return dbl(q - z, ratio(task))
            if newer and below < 0:
                return -dbl(q - z, -below)
            return dbl(q - z, below)

        return answer(task, lambda q: finished(task, steps(q)))

    def at(q: int) -> int:
        factor = ratio(task) if q >= z else o.f32(ratio(task) * alpha)
        eighths = o.half_even(o.f32(256 * factor))
        return finished(task, o.half_up(Fraction((q - z) * eighths, 256)))

    return answer(task, at)


@oracle("HARD_SWISH")
def hard_swish(task: Task) -> list[Answer]:
    x, y = task.x(), task.y
    fine = o.f32(x.scale / 128)

    def sixteen(factor: Real) -> tuple[int, int]:
        assert o.is_finite(factor)
        m, shift = o.quantize_multiplier(factor)
        return min(o.half_up(Fraction(m, 2**16)), 32767), shift

    def divided(value: int, exponent: int) -> int:
        if exponent > 15:  # the official mask has 16 bits
            return 1 if value >= 0 else -1
        return o.pot_away(value, exponent)

    m_out, s_out = sixteen(o.f32(fine / y.scale))
    m_in, s_in = sixteen(o.f32(fine / o.f32(Fraction(3, 32768))))

    def at(q: int) -> int:
        v = (q - x.zero_point) * 128
        steps = mul16(v, m_out)
        if s_in > 0:
            part = sat16(mul16(sat16(v * 2 ** (s_in - 1)), m_in) * 2)
        else:
            part = divided(mul16(v, m_in), -s_in)
        part = (part + 2**15) // 2
        product = min(math.trunc(Fraction(part * steps, 2**15)), 32767)
        return o.clip(o.wrap(divided(product, -s_out) + y.zero_point, 16), y.qmin, y.qmax)

    return answer(task, at)


# --- roots ----------------------------------------------------------------------------------------


def root32(x: Fraction) -> Fraction:
    """float32 square root, correctly rounded: float64's of a float32 is precise enough."""
    return o.f32(o.exact(math.sqrt(float(x))))


@oracle("SQRT")
def sqrt(task: Task) -> list[Answer]:
    x, y = task.x(), task.y

    def at(q: int) -> int:
        real = o.f32(x.scale * (q - x.zero_point))
        steps = to_int32(o.f32(root32(real) / y.scale))
        return o.clip(o.wrap(steps + y.zero_point, 32), y.qmin, y.qmax)

    return answer(task, at)


@oracle("RSQRT")
def rsqrt(task: Task) -> list[Answer]:
    x, y = task.x(), task.y
    if x.dtype == "int16":
        most = o.f32(32767 * y.scale)
        return look_up(task, lambda v: most if v <= 0 else o.f32(1 / root32(v)))
    m, shift = o.quantize_multiplier(o.f64(1 / o.f32(root32(x.scale) * y.scale)))

    def at(q: int) -> int:
        v = q - x.zero_point
        if v == 0:
            return y.qmax
        kept = o.multiply_double(1, *_shifted(inverse_root(v), 20))
        return finished(task, o.multiply_double(kept, m, shift - 20))

    return answer(task, at)


def _shifted(pair: tuple[int, int], by: int) -> tuple[int, int]:
    return pair[0], pair[1] + by


def inverse_root(v: int) -> tuple[int, int]:
    """1 / sqrt(v), 0 < v < 2^27, as multiplier and shift: five Newton steps in Q3 of 32 bits."""
    if v == 1:
        return o.INT32_MAX, 0
    pairs = 0
    while v * 4 ** (pairs + 1) < 2**29:
        pairs += 1
    value = v * 4**pairs // 2

    def mul(a: int, b: int) -> int:
        return o.rdhm(a, b)

    def clipped(a: int) -> int:
        return o.clip(a, o.INT32_MIN, o.INT32_MAX)

    half, y = o.half_away(Fraction(value, 2)), 2**28
    for _ in range(5):
        cube = clipped(mul(mul(y, y), y) * 2**6)
        y = clipped((mul(2**28 + 2**27, y) - mul(half, cube)) * 2**3)
    y = mul(y, o.half_away(o.exact(math.sqrt(0.5)) * 2**31))
    right = 11 - pairs
    return (y, -right) if right >= 0 else (o.wrap(y * 2**-right, 32), 0)


# --- integers and bare numbers --------------------------------------------------------------------


@oracle("NEG")
def neg(task: Task) -> list[Answer]:
    return answer(task, lambda q: o.wrap(-q, task.x().bits))


@oracle("SIGN")
def sign(task: Task) -> list[Answer]:
    return answer(task, lambda q: (q > 0) - (q < 0))


@oracle("ZEROS_LIKE")
def zeros_like(task: Task) -> list[Answer]:
    return answer(task, lambda q: 0)


@oracle("CAST")
def cast(task: Task) -> list[Answer]:
    x, target = task.x(), task.y.dtype
    assert x.values is not None
    return [(x.shape, [converted(v, target) for v in x.values])]


def converted(v: Any, target: str) -> Any:
    if target == "bool":
        return v != 0
    if target.startswith("float"):
        number = v if isinstance(v, float) else Fraction(v)
        if target == "float64":
            return o.f64(number)
        return o.f16(o.f32(number)) if target == "float16" else o.f32(number)
    bits, unsigned = int(target.lstrip("uint")), target.startswith("u")
    lo = 0 if unsigned else -(2 ** (bits - 1))
    hi = lo + 2**bits - 1
    if isinstance(v, Fraction):
        return o.clip(math.trunc(v), lo, hi)
    if isinstance(v, float):
        return lo if v < 0 else hi
    return (int(v) - lo) % 2**bits + lo
