"""Integer accumulators times a real factor: every rule that an official kernel uses (E22-E29).

A factor d >= 0 is held as (multiplier, shift): d = multiplier * 2^(shift - 31), multiplier in
[2^30, 2^31) or 0, shift > 0 to the left, as in LiteRT. The rules differ in where they round and in
which direction a tie goes; each is a function of its own, so that a profile can name the one it
means. All work in int64 on arrays of any (broadcasting) shape and return int64; accumulators are
int32 values unless said otherwise. Multipliers and shifts may be arrays (one a channel).

Sources: LiteRT kernels/internal/quantization_util.cc (QuantizeMultiplier), kernels/internal/
common.cc (MultiplyByQuantizedMultiplier), gemmlowp fixedpoint/fixedpoint.h, ruy
apply_multiplier.cc, XNNPACK src/operators/convolution-nhwc.c and src/qs8-requantization.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from kernels.errors import BadRange, NotFinite
from kernels.ranges import IntRange
from kernels.rounding import half_away
from kernels.trace import note

INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1


def quantize_multiplier(factor: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Real factors (float64) -> multiplier and shift, int64 arrays of the same shape (E22, QM).

    The 31-bit significand is rounded half away; 2^31 carries into the shift, so 1 - 2^-40 becomes
    (2^30, 1), as 1.0 does. A factor below about 2^-32 becomes (0, 0). Negative factors (as of
    LEAKY_RELU) keep their sign; -2^31 does not carry. Raises NotFinite for NaN or infinity.
    """
    factor = np.asarray(factor, np.float64)
    if not np.isfinite(factor).all():
        raise NotFinite("quantize_multiplier: a factor is NaN or infinite; check the scales")
    fraction, shift = np.frexp(factor)
    multiplier = half_away(fraction * 2.0**31).astype(np.int64)
    shift = shift.astype(np.int64)
    carry = multiplier == 2**31
    multiplier = np.where(carry, 2**30, multiplier)
    shift = np.where(carry, shift + 1, shift)
    flushed = shift < -31
    multiplier, shift = np.where(flushed, 0, multiplier), np.where(flushed, 0, shift)
    note("multiplier", multiplier, "E22")
    note("shift", shift, "E22")
    return multiplier, shift


def rdhm(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Doubling high product round(a * b / 2^31), ties toward +infinity (E23).

    a, b int32 values; only (INT32_MIN, INT32_MIN) leaves int32 and saturates to INT32_MAX.
    gemmlowp SaturatingRoundingDoublingHighMul, ARM vqrdmulh.
    """
    product = _int64(a) * _int64(b)
    high = np.minimum((product + (1 << 30)) >> 31, INT32_MAX)
    note("high product, ties up", high, "E23", (product, 1 << 31))
    return high


def pot_away(x: ArrayLike, exponent: ArrayLike) -> np.ndarray:
    """x / 2^exponent, ties away from zero; exponent in [0, 62] (E24).

    gemmlowp RoundingDivideByPOT, by its own steps.
    """
    x, exponent = _int64(x), _int64(exponent)
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    shifted = (x >> exponent) + ((x & mask) > threshold)
    note("right shift, ties away", shifted, "E24", (x, mask + 1))
    return shifted


def pot_up(x: ArrayLike, exponent: ArrayLike) -> np.ndarray:
    """x / 2^exponent, ties toward +infinity; exponent in [0, 62], |x| < 2^62 (E24). NEON vrshl."""
    x, exponent = _int64(x), _int64(exponent)
    half = (np.int64(1) << exponent) >> 1
    shifted = (x + half) >> exponent
    note("right shift, ties up", shifted, "E24", (x, np.int64(1) << exponent))
    return shifted


def wrap32(x: ArrayLike) -> np.ndarray:
    """The int32 that x becomes when only its low 32 bits are kept."""
    return _int64(x).astype(np.int32).astype(np.int64)


def wrap16(x: ArrayLike) -> np.ndarray:
    """The int16 that x becomes when only its low 16 bits are kept."""
    return _int64(x).astype(np.int16).astype(np.int64)


def multiply_double(x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> np.ndarray:
    """DBL: high product (ties up), then right shift (ties away): rounds twice (E25).

    LiteRT MultiplyByQuantizedMultiplier for int32, as in the released builds. A left shift that
    leaves int32 wraps; one of 32 and more, which C does not define, counts modulo 32 on x86.
    """
    high, right = _high(x, multiplier, shift, scalar=True)
    return pot_away(high, right)


def multiply_up(x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> np.ndarray:
    """UP: as DBL, but both roundings send ties up: ruy and NEON vector code (E25).

    A left shift of 32 and more leaves 0.
    """
    high, right = _high(x, multiplier, shift)
    return pot_up(high, right)


def multiply_mixed(
    x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike, lanes: int, axis: int = -1
) -> np.ndarray:
    """MIXk: UP for the first lanes * floor(n / lanes) elements of `axis`, DBL for the rest (E25).

    Vector loops of `lanes` elements with a scalar tail; n is the length of the axis, the run that
    the official loop walks (channels for DEPTHWISE_CONV_2D, the flat tensor for QUANTIZE).
    """
    if lanes < 1:
        raise BadRange(f"multiply_mixed: lanes is {lanes}; use 8 or 16")
    x = _int64(x)
    shape = np.broadcast_shapes(x.shape, np.shape(multiplier), np.shape(shift))
    position = np.arange(shape[axis]) < shape[axis] // lanes * lanes
    along = [1] * len(shape)
    along[axis] = shape[axis]
    vector = position.reshape(along)
    high, right = _high(x, multiplier, shift, scalar=~vector)
    return np.where(vector, pot_up(high, right), pot_away(high, right))


def multiply_single(x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> np.ndarray:
    """SGL: one rounding, (x * multiplier + 2^(30 - shift)) >> (31 - shift), ties up (E26).

    ruy's portable path and LiteRT builds with TFLITE_SINGLE_ROUNDING. shift in [-31, 30].
    """
    total = 31 - _int64(shift)
    product = _int64(x) * _int64(multiplier)
    rounded = (product + (np.int64(1) << (total - 1))) >> total
    note("one rounding, ties up", rounded, "E26", (product, np.int64(1) << total))
    return rounded


def multiply_float64(x: ArrayLike, factor: ArrayLike) -> np.ndarray:
    """F64: half_away(float64(x) * factor), no integer multiplier at all (E27).

    Reference FULLY_CONNECTED. x int32, or int64 below 2^53. Beyond 2^62 it saturates.
    """
    product = _int64(x).astype(np.float64) * np.asarray(factor, np.float64)
    rounded = np.clip(half_away(product), -(2.0**62), 2.0**62).astype(np.int64)
    note("float64 product, ties away", rounded, "E27", (product, 1))
    return rounded


def reduce_multiplier(multiplier: ArrayLike) -> np.ndarray:
    """31-bit multiplier -> 16-bit one for 64-bit accumulators, half up, at most 32767 (E26)."""
    multiplier = _int64(multiplier)
    return np.where(multiplier < 0x7FFF0000, (multiplier + (1 << 15)) >> 16, 0x7FFF)


def multiply_int64(x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> np.ndarray:
    """M64: 64-bit accumulators with a 16-bit multiplier, one rounding, ties up (E26).

    LiteRT MultiplyByQuantizedMultiplier(int64): |x| < 2^47, shift in [-31, 7]; the result is
    wrapped to int32 as the official cast does. For a larger shift, which C does not define, the
    counts go modulo 64, as on x86.
    """
    total = 15 - _int64(shift)
    product = _int64(x) * reduce_multiplier(multiplier)
    half = np.int64(1) << (total - 1 & 63)
    rounded = wrap32((product + half) >> (total & 63))
    note("16-bit multiplier, ties up", rounded, "E26", (product, np.int64(1) << (total & 63)))
    return rounded


def xnnpack_scale(
    input_scale: ArrayLike, weight_scale: ArrayLike, output_scale: ArrayLike
) -> np.ndarray:
    """float32(float32(input * weight) / output): XNNPACK's requantization scale (E28)."""
    one, two, three = (np.asarray(s, np.float32) for s in (input_scale, weight_scale, output_scale))
    return np.asarray(np.multiply(one, two) / three, np.float32)


def requantize_xnnpack(
    x: ArrayLike, scale: ArrayLike, zero_point: int, qmin: int, qmax: int
) -> np.ndarray:
    """XF: float32 product, upper clamp, nearest even, zero point, clamp; includes both (E28).

    x int32 accumulators; scale float32 (xnnpack_scale); returns int64 in [qmin, qmax].
    """
    product = _int64(x).astype(np.float32) * np.asarray(scale, np.float32)
    capped = np.minimum(product, np.float32(qmax - zero_point))
    # The official conversion saturates far below; any bound under qmin gives the same clamp.
    floor = np.float32(qmin - zero_point - 1)
    steps = np.rint(np.maximum(capped, floor)).astype(np.int64)
    note("float32 product, ties to even", np.rint(product), "E28", (product, 1))
    return np.clip(steps + zero_point, qmin, qmax)


def _high(
    x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike, scalar: ArrayLike = False
) -> tuple[np.ndarray, np.ndarray]:
    """High product after the left shift, and the right shift that remains. scalar: where the left
    shift counts modulo 32."""
    shift = _int64(shift)
    left = np.maximum(shift, 0)
    left = np.where(scalar, left & 31, np.minimum(left, 32))
    return rdhm(wrap32(_int64(x) << left), multiplier), np.maximum(-shift, 0)


def _int64(x: ArrayLike) -> np.ndarray:
    return np.asarray(x).astype(np.int64, copy=False)


def activation_range(
    lo: float, hi: float, scale: float, zero_point: int, q: IntRange
) -> tuple[int, int]:
    """Output clamp of a fused activation [lo, hi] in real units, as LiteRT sets it (E29).

    zero_point + half_away(float32(bound / scale)), intersected with q; infinite bounds leave the
    end of q. Source: LiteRT kernels/kernel_util.cc (CalculateActivationRangeQuantized).
    """
    ends = []
    for bound, end, pick in ((lo, q.qmin, max), (hi, q.qmax, min)):
        steps = half_away(np.float32(bound) / np.float32(scale))
        ends.append(pick(end, zero_point + int(steps)) if np.isfinite(steps) else end)
    return ends[0], ends[1]


def activation_range_xnnpack(
    lo: float, hi: float, scale: float, zero_point: int, q: IntRange
) -> tuple[int, int]:
    """The same clamp as XNNPACK sets it: nearest even, after adding the zero point (E29).

    Source: XNNPACK src/xnnpack/requantization.h (xnn_qs8_quantize).
    """
    steps = np.array([lo, hi], np.float32) / np.float32(scale) + np.float32(zero_point)
    ends = np.rint(np.clip(steps, np.float32(q.qmin), np.float32(q.qmax)))
    return int(ends[0]), int(ends[1])
