"""Float rows as int8, exact: the input side of hybrid operators."""

from __future__ import annotations

from collections.abc import Sequence

from tests import oracle as o
from tests.oracle import Real

Row = tuple[list[int], Real, int]


def asymmetric(values: Sequence[Real]) -> Row:
    """Integers, scale and zero point of a row, LiteRT with asymmetric inputs."""
    lo, hi = min([0, *values]), max([0, *values])
    if lo == hi:
        return [0] * len(values), o.f32(o.Fraction(1)), 0
    step = o.f64(o.f32(o.sub(hi, lo)) / 255)
    low, high = o.f64(o.div(lo, step)), o.f64(o.div(hi, step))
    if o.f64(128 + abs(low)) < o.f64(127 + abs(high)):
        best = o.f64(-128 - low)
    else:
        best = o.f64(127 - high)
    zero_point = o.half_away(min(max(best, o.Fraction(-128)), o.Fraction(127)))
    scale = o.f32(step)
    inverse = o.Fraction(0) if scale == 0 else o.f32(o.f64(o.div(o.Fraction(1), scale)))
    return _placed(values, inverse, zero_point, -128), scale, zero_point


def symmetric(values: Sequence[Real]) -> Row:
    """The same without a zero point."""
    most = max(abs(v) for v in values)
    if most == 0:
        return [0] * len(values), o.Fraction(1), 0
    inverse = o.f32(o.div(o.Fraction(127), most))
    return _placed(values, inverse, 0, -127), o.f32(most / 127), 0


def _placed(values: Sequence[Real], inverse: Real, zero_point: int, qmin: int) -> list[int]:
    found = []
    for i, value in enumerate(values):
        t = o.f32(o.mul(value, inverse))
        if not o.is_finite(t):
            steps = -(2**31) + (zero_point if i < len(values) // 8 * 8 else 0)
            steps = o.wrap(steps, 32)
        elif i < len(values) // 8 * 8:
            half = o.Fraction(1, 2) if t >= 0 else o.Fraction(-1, 2)
            steps = o.wrap(_int32(o.toward_zero(o.f32(t + half))) + zero_point, 32)
        else:
            steps = _int32(o.toward_zero(o.f32(o.Fraction(o.half_away(t) + zero_point))))
        found.append(o.clip(steps, qmin, 127))
    return found


def _int32(value: int) -> int:
    return value if abs(value) < 2**31 else -(2**31)


def qd8(values: Sequence[Real]) -> Row:
    """XNNPACK's dynamically quantized rows."""
    lo, hi = min([o.Fraction(0), *values]), max([o.Fraction(0), *values])
    inverse = o.Fraction(1) if lo == hi else o.f32(o.div(o.Fraction(255), o.f32(o.sub(hi, lo))))
    low, high = o.f32(o.mul(lo, inverse)), o.f32(o.mul(hi, inverse))
    left = o.f32(o.add(o.Fraction(-128), low))
    right = o.f32(o.add(o.Fraction(127), high))
    if o.f32(o.add(left, right)) > 0:
        best = o.f32(o.sub(o.Fraction(-128), low))
    else:
        best = o.f32(o.sub(o.Fraction(127), high))
    best = -128 if o.is_nan(best) else min(max(best, -128), 127)
    zero_point = o.half_even(o.Fraction(best))
    found = []
    for value in values:
        t = o.f32(o.mul(value, inverse))
        t = 32767 if o.is_nan(t) else min(max(t, -32768), 32767)
        found.append(o.clip(o.half_even(o.Fraction(t)) + zero_point, -128, 127))
    return found, o.f32(o.div(o.Fraction(1), inverse)), zero_point


ROWS = {"asymmetric": asymmetric, "symmetric": symmetric, "qd8": qd8}
