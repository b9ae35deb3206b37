"""The exact oracle: what every number of `kernels` must be, in Python int and Fraction.

It imports nothing of ours and no NumPy, knows no arrays and no speed. A real number is a Fraction;
infinities and NaN are Python floats. A floating-point step is written as the exact operation
followed by one explicit rounding to a format, so that each line shows where precision is lost.
The sign of zero is not modelled: no integer and no scale depends on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

Real = Fraction | float  # float only for nan and the infinities

INF, NAN = math.inf, math.nan
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


# --- floating-point formats -----------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """An IEEE 754 binary format: precision in bits, exponent of the smallest and largest normal."""

    precision: int
    emin: int
    emax: int

    @property
    def largest(self) -> Fraction:
        return (2 - Fraction(2) ** (1 - self.precision)) * Fraction(2) ** self.emax


FLOAT16 = Format(11, -14, 15)
FLOAT32 = Format(24, -126, 127)
FLOAT64 = Format(53, -1022, 1023)


def exact(value: float) -> Real:
    """A Python or NumPy float as the number it stands for."""
    value = float(value)
    return Fraction(value) if math.isfinite(value) else value


def to_format(x: Real, form: Format) -> Real:
    """x rounded to the format, nearest even, gradual underflow, overflow to infinity."""
    if isinstance(x, float) or x == 0:
        return x
    exponent = _floor_log2(abs(x))
    ulp = Fraction(2) ** (max(exponent, form.emin) - form.precision + 1)
    rounded = half_even(x / ulp) * ulp
    if abs(rounded) > form.largest:
        return INF if x > 0 else -INF
    return rounded


def f16(x: Real) -> Real:
    return to_format(x, FLOAT16)


def f32(x: Real) -> Real:
    return to_format(x, FLOAT32)


def f64(x: Real) -> Real:
    return to_format(x, FLOAT64)


def _floor_log2(x: Fraction) -> int:
    guess = x.numerator.bit_length() - x.denominator.bit_length()
    return guess if Fraction(2) ** guess <= x else guess - 1


def is_nan(x: Real) -> bool:
    return isinstance(x, float) and math.isnan(x)


def is_finite(x: Real) -> bool:
    return not isinstance(x, float)


def add(a: Real, b: Real) -> Real:
    if is_finite(a) and is_finite(b):
        return a + b
    return float(a if not is_finite(a) else 0.0) + float(b if not is_finite(b) else 0.0)


def sub(a: Real, b: Real) -> Real:
    return add(a, -b)


def mul(a: Real, b: Real) -> Real:
    if is_finite(a) and is_finite(b):
        return a * b
    return _sign(a) * _sign(b) * INF if _sign(a) and _sign(b) else NAN


def div(a: Real, b: Real) -> Real:
    """a / b, where a zero divisor counts as +0."""
    if is_nan(a) or is_nan(b):
        return NAN
    if not is_finite(b):
        return Fraction(0) if is_finite(a) else NAN
    if b == 0:
        return NAN if a == 0 else _sign(a) * INF
    return a / b if is_finite(a) else _sign(a) * _sign(b) * INF


def _sign(x: Real) -> float:
    if is_nan(x):
        return NAN
    return float((x > 0) - (x < 0))


# --- roundings ------------------------------------------------------------------------------------


def half_away(x: Fraction) -> int:
    whole = math.floor(abs(x) + Fraction(1, 2))
    return whole if x >= 0 else -whole


def half_even(x: Fraction) -> int:
    return round(x)  # Fraction.__round__ is exact and sends ties to even


def half_up(x: Fraction) -> int:
    return math.floor(x + Fraction(1, 2))


def toward_zero(x: Fraction) -> int:
    return math.trunc(x)


ROUNDINGS = {
    "half_away": half_away,
    "half_even": half_even,
    "half_up": half_up,
    "toward_zero": toward_zero,
}


def clip(value: int, qmin: int, qmax: int) -> int:
    return min(max(value, qmin), qmax)


def saturate(x: Real, zero_point: int, qmin: int, qmax: int, rounding=half_away) -> int:
    """clip(rounding(x) + zero_point), infinities at the ends; NaN is the caller's to exclude."""
    if not is_finite(x):
        assert not is_nan(x), "a NaN has no integer"
        return qmax if x > 0 else qmin
    return clip(rounding(x) + zero_point, qmin, qmax)


# --- affine map and encoders ----------------------------------------------------------------------


def quantize(x, scale, zero_point, qmin, qmax, form=FLOAT32, rounding=half_away) -> int:
    return saturate(to_format(div(x, scale), form), zero_point, qmin, qmax, rounding)


def dequantize(value: int, scale: Fraction, zero_point: int, form: Format = FLOAT32) -> Real:
    """The float64 product rounded to `form`."""
    return to_format(f64(mul(scale, f64(Fraction(value - zero_point)))), form)


def inverse32(scale: Real) -> Real:
    inverse = f32(f64(div(Fraction(1), scale)))
    return inverse if is_finite(inverse) else Fraction(0)


def inverse_max32(max_abs: Real, qmax: int) -> Real:
    inverse = f32(div(Fraction(qmax), max_abs))
    return inverse if is_finite(inverse) else Fraction(0)


def encode_inverse32(w: Real, scale: Real, qmin: int, qmax: int) -> int:
    return saturate(f32(mul(w, inverse32(scale))), 0, qmin, qmax)


def encode_max32(w: Real, max_abs: Real, qmin: int, qmax: int) -> int:
    return saturate(f32(mul(w, inverse_max32(max_abs, qmax))), 0, qmin, qmax)


def encode_double(w: Real, scale: Real, zero_point: int, qmin: int, qmax: int) -> int:
    steps = Fraction(0) if scale == 0 else f64(div(w, scale))
    return saturate(f64(add(steps, Fraction(zero_point))), 0, qmin, qmax)


def encode_tensor_mlir(w: Real, m: Fraction, scale: Real, qmin: int, qmax: int) -> int:
    own = symmetric_legacy_tensor(m, qmax)
    if abs(f64(sub(own, scale))) > exact(1e-3):
        return encode_double(w, scale, 0, qmin, qmax)
    return encode_max32(w, m, qmin, qmax)


def encode_bias(b: Real, scale: Real, bits: int) -> int:
    limit = 2 ** (bits - 1) - 1
    inverse = Fraction(0) if scale == 0 else f32(f64(div(Fraction(1), scale)))
    steps = f32(mul(b, inverse))
    return 0 if is_nan(steps) else saturate(steps, 0, -limit, limit)


def requantize_constant(value, scale, zero_point, new_scale, new_zero_point, qmin, qmax) -> int:
    real = f32(mul(scale, Fraction(value - zero_point)))
    return saturate(f32(mul(real, inverse32(new_scale))), new_zero_point, qmin, qmax)


def encode_float16(w: Real) -> Real:
    if is_nan(w):
        return w
    return f16(min(max(w, -FLOAT16.largest), FLOAT16.largest))


# --- scales and zero points -----------------------------------------------------------------------

SMALL = exact(1e-6)


def widen_activation(lo: Fraction, hi: Fraction) -> tuple[Fraction, Fraction]:
    if f64(hi - lo) < SMALL:
        return f64(lo - SMALL), f64(hi + SMALL)
    return lo, hi


def widen_constant(lo: Fraction, hi: Fraction) -> tuple[Fraction, Fraction]:
    if f64(hi - lo) > SMALL:
        return lo, hi
    return min(lo, -SMALL / 2), max(hi, SMALL / 2)


def _nudge(x: Real, qmin: int, qmax: int) -> int:
    if not is_finite(x):
        return qmin if x < 0 else qmax
    return half_away(min(max(x, Fraction(qmin)), Fraction(qmax)))


def asymmetric_mlir(lo, hi, qmin, qmax, widen="activation") -> tuple[Real, int]:
    lo, hi = min(lo, Fraction(0)), max(hi, Fraction(0))
    if widen != "none":
        lo, hi = {"activation": widen_activation, "constant": widen_constant}[widen](lo, hi)
    scale = f32(div(f32(sub(f32(hi), f32(lo))), Fraction(qmax - qmin)))
    if scale == 0:
        return scale, qmin
    anchored = f32(f64(sub(Fraction(qmin), f64(div(lo, scale)))))
    return scale, _nudge(anchored, qmin, qmax)


def asymmetric_legacy(lo, hi, qmin, qmax) -> tuple[Real, int]:
    lo, hi = f32(min(lo, Fraction(0))), f32(max(hi, Fraction(0)))
    scale = f32(div(f32(sub(hi, lo)), Fraction(qmax - qmin)))
    if scale == 0:
        return scale, qmin
    anchored = f32(sub(Fraction(qmin), f32(div(lo, scale))))
    return scale, _nudge(anchored, qmin, qmax)


def activation16_mlir(lo, hi) -> tuple[Real, int]:
    m = max(abs(lo), abs(hi))
    return asymmetric_mlir(-m, m, -32768, 32767)


def activation16_legacy(lo, hi) -> tuple[Real, int]:
    return symmetric_legacy(max(abs(lo), abs(hi)), 32767), 0


def power_of_two_mlir(lo, hi) -> Real:
    m = max(abs(lo), abs(hi))
    if m == 0:
        return Fraction(0)
    below = _floor_log2(m)
    bound = below if Fraction(2) ** below == m else below + 1
    return f32(Fraction(2) ** (bound - 15))


def power_of_two_legacy(lo, hi) -> Real:
    """By counting, as the official loop does."""
    m = max(abs(lo), abs(hi))
    exponent = 0
    for _ in range(10):
        if Fraction(2) ** exponent < m:
            exponent += 1
    return Fraction(2) ** (exponent - 15)


def symmetric_mlir(m: Fraction, qmin: int, qmax: int) -> Real:
    lo, hi = widen_constant(-m, m)
    return f32(div(f32(sub(f32(hi), f32(lo))), Fraction(qmax - qmin)))


def symmetric_legacy(m: Fraction, qmax: int) -> Real:
    return f32(div(f32(m), Fraction(qmax)))


def symmetric_legacy_tensor(m: Fraction, qmax: int) -> Real:
    return Fraction(1) if m == 0 else symmetric_legacy(m, qmax)


def symmetric_double(m: Fraction, qmin: int, qmax: int) -> Real:
    lo, hi = widen_constant(-m, m)
    return f64(f64(hi - lo) / (qmax - qmin))


def bias_scale(input_scale: Real, weight_scale: Real) -> Real:
    return f32(mul(input_scale, weight_scale))


def bias_guard_mlir(b, input_scale, weight_scale, per_tensor=False) -> tuple:
    """(weight_scale, bias_scale, raised, exact weight_scale), |b| the largest of the group."""
    b, product = abs(b), bias_scale(input_scale, weight_scale)
    reached = f64(div(b, product))
    limit = 2**30 - 1
    raised = b > 0 and (reached >= limit if per_tensor else reached > limit)
    if not raised:
        return weight_scale, product, False, weight_scale
    higher = f64(b / limit)
    weight = f64(div(higher, input_scale))
    return f32(weight), f32(higher), True, weight


def bias_guard_legacy(b, input_scale, max_abs, per_tensor=False) -> tuple[Real, bool]:
    """(max_abs, raised) for |b| the largest of the group."""
    b = abs(b)
    weight_scale = f32(max_abs / 127)
    half = f64(f64(Fraction(1, 2) * input_scale) * weight_scale)
    if per_tensor:
        fired = f32(b / 2**31) >= half
    else:
        fired = b >= f64(half * INT32_MAX)
    if not fired:
        return max_abs, False
    higher = f32(f64(mul(f64(2 * b / INT32_MAX), f32(div(Fraction(127), input_scale)))))
    return higher, higher != max_abs


# --- fixed point ----------------------------------------------------------------------------------


def quantize_multiplier(factor: Fraction) -> tuple[int, int]:
    """By meaning: the nearest multiplier * 2^(shift - 31), multiplier of 31 bits, ties away."""
    if factor == 0:
        return 0, 0
    shift = _floor_log2(abs(factor)) + 1
    multiplier = half_away(factor / Fraction(2) ** (shift - 31))
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def rdhm(a: int, b: int) -> int:
    return min(half_up(Fraction(a * b, 2**31)), INT32_MAX)


def rdhm_by_steps(a: int, b: int) -> int:
    """gemmlowp's own steps: a nudge of the sign of the product, then C division."""
    if a == b == INT32_MIN:
        return INT32_MAX
    nudge = 2**30 if a * b >= 0 else 1 - 2**30
    return math.trunc(Fraction(a * b + nudge, 2**31))


def pot_away(x: int, exponent: int) -> int:
    return half_away(Fraction(x, 2**exponent))


def pot_up(x: int, exponent: int) -> int:
    return half_up(Fraction(x, 2**exponent))


def wrap(x: int, bits: int) -> int:
    return (x + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def multiply_double(x: int, multiplier: int, shift: int) -> int:
    return pot_away(rdhm(wrap(x * 2 ** max(shift, 0), 32), multiplier), max(-shift, 0))


def multiply_up(x: int, multiplier: int, shift: int) -> int:
    return pot_up(rdhm(wrap(x * 2 ** max(shift, 0), 32), multiplier), max(-shift, 0))


def multiply_single(x: int, multiplier: int, shift: int) -> int:
    return half_up(Fraction(x * multiplier) * Fraction(2) ** (shift - 31))


def multiply_float64(x: int, factor: Fraction) -> int:
    return half_away(f64(f64(Fraction(x)) * factor))


def multiply_int64(x: int, multiplier: int, shift: int) -> int:
    reduced = half_up(Fraction(multiplier, 2**16)) if multiplier < 0x7FFF0000 else 0x7FFF
    return wrap(half_up(Fraction(x * reduced) * Fraction(2) ** (shift - 15)), 32)


def xnnpack_scale(input_scale: Fraction, weight_scale: Fraction, output_scale: Fraction) -> Real:
    return f32(div(f32(mul(input_scale, weight_scale)), output_scale))


def requantize_xnnpack(x: int, scale: Fraction, zero_point: int, qmin: int, qmax: int) -> int:
    product = f32(mul(f32(Fraction(x)), scale))
    if not is_finite(product):
        return qmax if product > 0 else qmin
    return clip(half_even(min(product, Fraction(qmax - zero_point))) + zero_point, qmin, qmax)


def activation_range(lo: Real, hi: Real, scale, zero_point, qmin, qmax) -> tuple[int, int]:
    low = saturate(f32(div(lo, scale)), zero_point, qmin, 2**64)
    high = saturate(f32(div(hi, scale)), zero_point, -(2**64), qmax)
    return low, high


def activation_range_xnnpack(lo: Real, hi: Real, scale, zero_point, qmin, qmax) -> tuple[int, int]:
    ends = (f32(add(f32(div(bound, scale)), Fraction(zero_point))) for bound in (lo, hi))
    return tuple(saturate(end, 0, qmin, qmax, half_even) for end in ends)


# --- packing --------------------------------------------------------------------------------------


def pack(values: list[int], bits: int) -> list[int]:
    """One number of all fields, the first value lowest, cut into bytes from the low end."""
    number = sum((v % 2**bits) << (bits * i) for i, v in enumerate(values))
    return list(number.to_bytes(-(-len(values) * bits // 8), "little"))
