"""Real values to integers and back: the affine map, and the arithmetics the converter encodes with.

`quantize` and `dequantize` are the definition (E1, E3). The `encode_*` functions are the distinct
floating-point programs with which TFLite's quantizers turn constants into integers (E16-E19). They
agree to within one step, and differ in a few integers per million, so each keeps its name.

Common contract of `quantize` and `encode_*`:

* values: float32 of any shape (float16 is widened exactly); C order is read in place, any other
  order through a copy.
* scale, zero_point, max_abs: anything that broadcasts against the values, so () for a tensor,
  `along(scale, axis, ndim)` for channels of any axis, (rows, blocks, 1) for blocks of a reshaped
  tensor. Scales are real units a step.
* q: an IntRange; the result has q.dtype and values clipped to [q.qmin, q.qmax].
* out: an array of that dtype and shape to write to; it is returned.
* +-inf saturates; a NaN raises NotFinite. Work is done in cache-sized pieces (kernels.blocks):
  no temporary of the size of the tensor. To stream, slice values and scale along the first axis.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from kernels import streaming
from kernels.blocks import BLOCK, along, pieces, scratch
from kernels.errors import BadArray, BadRange, NotFinite
from kernels.ranges import INT8, INT32, IntRange
from kernels.rounding import Rounding, below_half, half_away
from kernels.scales import symmetric_legacy_tensor

__all__ = [
    "along",
    "dequantize",
    "encode_bias",
    "encode_double",
    "encode_float16",
    "encode_inverse32",
    "encode_max32",
    "encode_tensor_mlir",
    "inverse32",
    "inverse_max32",
    "quantize",
    "requantize_constant",
]

FLOAT16_MAX = np.float32(65504.0)
NEAR = 256  # no integer or zero point of at most eight bits is farther from 0
MARGIN = 2.0**-12  # 2 * NEAR steps by a float32 factor, plus a zero point: within 1.1e-4 (E16)
ADJUSTED = 1e-3  # the official test for "the scale was changed after it was derived from the data"


def quantize(
    x: np.ndarray,
    scale: ArrayLike,
    zero_point: ArrayLike,
    q: IntRange,
    rounding: Rounding = half_away,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """clip(rounding(x / scale) + zero_point): rounds before it adds the zero point (E3).

    The division is done in the float type of x: float32 as the official QUANTIZE reference kernel
    does, float64 for more precise studies. scale must be finite and > 0 (NotFinite otherwise).
    """
    x = np.asarray(x)
    if x.dtype not in (np.float32, np.float64):
        raise BadArray(f"quantize: needs float32 or float64, got {x.dtype}; convert it first")
    scale = np.asarray(scale, x.dtype)
    zero_point = np.asarray(zero_point, np.int64)
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise NotFinite("quantize: a scale is not positive and finite; choose another scale")
    if q.bits > 32 and zero_point.any():
        raise BadRange("quantize: 64-bit integers take zero point 0 only")
    out = _output(x, q, out, "quantize")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if scale.ndim == zero_point.ndim == 0 and 0 < x.size <= BLOCK:
            _quantize(x, out, scale, zero_point, q, rounding, np.empty(x.shape, x.dtype))
            return out
        scale, zero_point = np.broadcast_arrays(scale, zero_point)
        t = np.empty(BLOCK, x.dtype)
        for part, target, (s, z) in pieces(_c_order(x), out, (scale, zero_point)):
            _quantize(part, target, s, z, q, rounding, t[: part.size].reshape(part.shape))
    return out


def _quantize(
    x: np.ndarray, out: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, q: IntRange,
    rounding: Rounding, steps: np.ndarray,
) -> None:  # fmt: skip
    """One piece of `quantize`; steps: memory for as many values."""
    np.divide(x, scale, out=steps)
    if np.isnan(np.minimum.reduce(steps, axis=None)):
        raise NotFinite("quantize: the data hold a NaN, which has no integer")
    rounding(steps, out=steps)
    if q.bits > 16:
        out[...] = _saturated_sum(steps, zero_point, q)
        return
    # Clipped to q - zero_point, every step and sum below is a small integer: exact.
    np.maximum(steps, (q.qmin - zero_point).astype(x.dtype), out=steps)
    np.minimum(steps, (q.qmax - zero_point).astype(x.dtype), out=steps)
    np.add(steps, zero_point.astype(x.dtype), out=steps)
    np.copyto(out, steps, casting="unsafe")


def dequantize(
    values: np.ndarray,
    scale: ArrayLike,
    zero_point: ArrayLike,
    dtype: DTypeLike = np.float32,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """scale * (values - zero_point), one float64 product rounded once to `dtype` (E3).

    values: integers of at most 32 bits, or int64. The difference is exact; for |difference| < 2^29
    so is the float64 product, and float32 is then the correctly rounded result, as the official
    DEQUANTIZE reference kernel gives it. dtype: np.float32 (default), np.float64, or np.float16
    (rounded from the float64 product).
    """
    values = np.asarray(values)
    if values.dtype.kind not in "iu":
        raise BadArray(f"dequantize: needs integers, got {values.dtype}")
    scale = np.asarray(scale)
    zero_point = np.asarray(zero_point, np.int64)
    out = _checked(out, values.shape, np.dtype(dtype), "dequantize")
    # Differences below 2^24 are exact in float32 already, and the one product is then the same.
    single = (
        scale.dtype == np.float32
        and out.dtype == np.float32
        and values.dtype.itemsize <= 2
        and bool((np.abs(zero_point) < 2**20).all())
    )
    work = np.dtype(np.float32 if single else np.float64)
    scale, zero_point = np.broadcast_arrays(scale.astype(work), zero_point)
    t = np.empty(BLOCK, work)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for part, target, (s, z) in pieces(_c_order(values), out, (scale, zero_point)):
            difference = t[: part.size].reshape(part.shape)
            if values.dtype.itemsize <= 4:
                np.subtract(part, z.astype(work), out=difference, dtype=work, casting="unsafe")
            else:  # int64 is exact only as integers
                difference[...] = part - z
            np.multiply(difference, s, out=difference)
            np.copyto(target, difference, casting="unsafe")
    return out


def inverse32(scale: ArrayLike) -> np.ndarray:
    """float32(1 / scale), the division in float64; 0 where the scale is 0 or the inverse is not
    finite in float32, so that such a group encodes to 0 (E17)."""
    scale = np.asarray(scale, np.float32).astype(np.float64)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = (1.0 / scale).astype(np.float32)
    return np.where(np.isfinite(inverse), inverse, np.float32(0.0))


def inverse_max32(max_abs: ArrayLike, q: IntRange) -> np.ndarray:
    """float32(qmax / max_abs), the division in float32; 0 where it is not finite (E17)."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(q.qmax) / np.asarray(max_abs, np.float32)
    return np.where(np.isfinite(inverse), inverse, np.float32(0.0))


def encode_inverse32(
    w: np.ndarray, scale: ArrayLike, q: IntRange, out: np.ndarray | None = None
) -> np.ndarray:
    """clip(half_away(float32(w * float32(1 / scale)))): zero point 0 (E16).

    Per-channel weights of the MLIR quantizer; int16 constants of the older one.
    Source: LiteRT converter/quantization/common/quantization_lib/quantization_utils.cc
    (QuantizeLegacy), tools/optimize/quantization_utils.cc (SymmetricQuantizeFloatsToInt16).
    """
    return _multiply_round(w, inverse32(scale), q, out, "encode_inverse32")


def encode_max32(
    w: np.ndarray, max_abs: ArrayLike, q: IntRange, out: np.ndarray | None = None
) -> np.ndarray:
    """clip(half_away(float32(w * float32(qmax / max_abs)))): zero point 0 (E16).

    Weights of the older quantizer, and per-tensor symmetric constants of both.
    Source: LiteRT tools/optimize/quantization_utils.cc (SymmetricPerChannelQuantization),
    kernels/internal/reference/portable_tensor_utils.cc (PortableSymmetricQuantizeFloats).
    """
    return _multiply_round(w, inverse_max32(max_abs, q), q, out, "encode_max32")


def encode_double(
    w: np.ndarray,
    scale: ArrayLike,
    zero_point: ArrayLike,
    q: IntRange,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """clip(half_away(w / scale + zero_point)) in float64: rounds after adding the zero point (E16).

    Asymmetric constants of the MLIR quantizer (scale = the stored float32 value) and weights of
    dynamic-range models (scale = the float64 value before it is stored). scale 0 encodes to
    zero_point. Source: tensorflow compiler/mlir/quantization/common/ir/UniformSupport.h.
    """
    w = _c_order(_weights(w, "encode_double"))
    scale = np.asarray(scale, np.float64)
    zero_point = np.asarray(zero_point, np.float64)
    out = _output(w, q, out, "encode_double")
    narrow = -NEAR <= q.qmin and q.qmax <= NEAR
    if narrow and streaming.double(w, out, q, scale, zero_point, 0.5 - MARGIN, NEAR):
        return out
    scale, zero_point = np.broadcast_arrays(np.where(scale == 0, np.inf, scale), zero_point)
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        inverse = (1.0 / scale).astype(np.float32)
        small = narrow and bool((np.abs(zero_point) <= NEAR).all())
        if small and np.isfinite(inverse).all():
            _encode_near(w, scale, zero_point, inverse, q, out)
        else:
            _encode_wide(w, scale, zero_point, q, out)
    return out


def _encode_wide(
    w: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, q: IntRange, out: np.ndarray
) -> None:
    """encode_double for any grid: every step of the definition on every value."""
    block = BLOCK // 2  # as many bytes of scratch as the float32 encoders have
    t, u = scratch(np.float64, np.float64)
    rounder = _Rounder(np.dtype(np.float64), q, "encode_double")
    symmetric = not zero_point.any()
    for part, target, (s, z) in pieces(_c_order(w), out, (scale, zero_point), block):
        steps = t[: part.size].reshape(part.shape)
        np.divide(part, s, out=steps, dtype=np.float64)
        if not symmetric:
            np.add(steps, z, out=steps)
        rounder(steps, u, target)


def _encode_near(
    w: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray,
    inverse: np.ndarray,
    q: IntRange,
    out: np.ndarray,
) -> None:
    """encode_double for grids of at most eight bits: float32 steps, float64 near a tie (E16).

    Up to 2 * NEAR steps from zero, float32 errs by less than MARGIN, so that only a value within
    MARGIN of a tie can round otherwise than in float64; those few, and what is not finite, are
    computed again. Beyond, both saturate.
    """
    t, u, sure = scratch(np.float32, np.float32, np.bool_)
    low, high = np.float32(q.qmin), np.float32(q.qmax)
    certain = np.float32(0.5 - MARGIN)
    symmetric = not zero_point.any()
    shift = zero_point.astype(np.float32)
    groups = (scale, zero_point, inverse, shift)
    for part, target, (s, z, factor, z32) in pieces(w, out, groups):
        steps = t[: part.size].reshape(part.shape)
        rounded = u[: part.size].reshape(part.shape)
        near = sure[: part.size]
        np.multiply(part, factor, out=steps, dtype=np.float32)
        if not symmetric:
            np.add(steps, z32, out=steps)
        np.rint(steps, out=rounded)
        np.subtract(steps, rounded, out=steps)
        np.less(np.abs(steps, out=steps).reshape(-1), certain, out=near)
        at = np.flatnonzero(np.logical_not(near, out=near))
        if at.size:
            exact = part.reshape(-1)[at] / _each(s, at, part.shape)
            if not symmetric:
                exact += _each(z, at, part.shape)
            exact = half_away(exact)
            if np.isnan(np.minimum.reduce(exact)):
                raise NotFinite(_NAN.format("encode_double"))
            u[at] = exact
        _clip(rounded, low, high)
        np.copyto(target, rounded, casting="unsafe")


def _clip(steps: np.ndarray, low: np.floating, high: np.floating) -> None:
    """Clip in place what is then truncated: finite, or infinities.

    Extremes of data in cache cost less than a clip, which few blocks of a weight need.
    """
    inside = np.minimum.reduce(steps, axis=None) > low - 1
    if not (inside and np.maximum.reduce(steps, axis=None) < high + 1):
        np.clip(steps, low, high, out=steps)


def _each(parameter: np.ndarray, at: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The parameter of the values at flat places `at` of a piece, as `pieces` gives them."""
    if parameter.size == 1:
        return parameter.reshape(())
    if parameter.ndim < 2 or parameter.shape == shape:
        return parameter.reshape(-1)[at]
    return parameter.reshape(-1)[at // shape[1]]


def encode_tensor_mlir(
    w: np.ndarray,
    max_abs: float,
    scale: float,
    q: IntRange,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Per-tensor symmetric weights of the MLIR quantizer; zero point 0 (E16).

    encode_max32 by the data's own magnitude, whatever scale is stored, unless `scale` (float64, as
    bias_guard_mlir's exact_weight_scale) is more than 1e-3 from max_abs / qmax: then encode_double
    by `scale`. So a scale raised by less than 1e-3 is stored beside integers it does not describe.
    Source: LiteRT quantization_utils.cc (QuantizeLegacy).
    """
    own = np.float64(symmetric_legacy_tensor(max_abs, q)[0])
    if abs(own - np.float64(scale)) > ADJUSTED:
        return encode_double(w, scale, 0, q, out)
    return encode_max32(w, max_abs, q, out)


def encode_bias(
    bias: np.ndarray, scale: ArrayLike, q: IntRange = INT32, out: np.ndarray | None = None
) -> np.ndarray:
    """half_away(float32(bias * float32(1 / scale))), saturated to q; int32 or int64 (E15).

    bias: float32; scale: broadcasts against it, as bias_scale gives it. A scale of 0 gives 0; a
    scale so small that 1 / scale is infinite in float32 gives 0 for 0 and saturates the rest.
    Source: LiteRT tools/optimize/quantization_utils.cc (SymmetricBiasQuantize).
    """
    bias = _weights(bias, "encode_bias")
    scale = np.asarray(scale, np.float32).astype(np.float64)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore", under="ignore"):
        inverse = np.where(scale == 0, 0.0, 1.0 / scale).astype(np.float32)
        steps = bias * inverse
    if np.isnan(bias).any():
        raise NotFinite("encode_bias: the bias holds a NaN, which has no integer; mend it")
    # 0 * inf: the official cast maps NaN to 0.
    steps = half_away(np.where(np.isnan(steps), np.float32(0), steps))
    out = _output(bias, q, out, "encode_bias")
    out[...] = _saturated_sum(steps, np.int64(0), q)
    return out


def requantize_constant(
    values: np.ndarray,
    scale: ArrayLike,
    zero_point: ArrayLike,
    new_scale: ArrayLike,
    new_zero_point: ArrayLike,
    q: IntRange = INT8,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Integers of one affine map -> integers of another, through float32 (E18).

    half_away(float32(real * float32(1 / new_scale))) + new_zero_point, real = float32(scale *
    (values - zero_point)): what the older quantizer does to a constant operand that must share the
    output's scale, so the value has been rounded twice. Source: LiteRT
    tools/optimize/quantize_model.cc (RequantizeConstant).
    """
    real = dequantize(values, scale, zero_point)
    with np.errstate(over="ignore", under="ignore"):
        steps = half_away(real * inverse32(new_scale))
    out = _output(real, q, out, "requantize_constant")
    out[...] = _saturated_sum(steps, np.asarray(new_zero_point, np.int64), q)
    return out


def encode_float16(w: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """float32 -> float16, nearest even, subnormals kept, saturated to +-65504; NaN stays NaN (E19).

    Source: LiteRT tools/optimize/quantization_utils.cc (QuantizeTensorFloat16); the MLIR converter
    gives the same values.
    """
    w = _weights(w, "encode_float16")
    out = _checked(out, w.shape, np.dtype(np.float16), "encode_float16")
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        if w.dtype == np.float16:
            np.clip(w, -FLOAT16_MAX, FLOAT16_MAX, out=out, casting="same_kind")
            return out
        w = _c_order(w)
        if streaming.halves(w, out):
            return out
        t, u, low, tiny = scratch(np.uint32, np.uint32, np.uint16, np.bool_)
        for part, target, _ in pieces(w, out, ()):
            n = part.size
            bits = part.view(np.uint32)
            magnitude = np.bitwise_and(bits, _MAGNITUDE, out=t[:n])
            size = magnitude.view(np.float32)
            if not np.maximum.reduce(size) <= FLOAT16_MAX:  # too large, or NaN
                np.copyto(target, np.clip(part, -FLOAT16_MAX, FLOAT16_MAX), casting="same_kind")
                continue
            subnormal = np.less(size, _SMALLEST_NORMAL16, out=tiny[:n])
            # Added to a half, a float32 is rounded to the step of the subnormals, 2^-24.
            any_subnormal = subnormal.any()
            if any_subnormal:
                other = np.add(size, np.float32(0.5), out=u[:n].view(np.float32)).view(np.uint32)
                np.copyto(low[:n], np.subtract(other, _HALF_BITS, out=other), casting="unsafe")
            # Half a step less one, and one more where the bit to keep is odd: ties to even. The
            # exponent moves from bias 127 to 15 in the same sum; all of it modulo 2^32.
            odd = np.right_shift(magnitude, _LOST, out=u[:n])
            np.bitwise_and(odd, np.uint32(1), out=odd)
            np.add(magnitude, odd, out=magnitude)
            np.add(magnitude, _REBIAS, out=magnitude)
            np.right_shift(magnitude, _LOST, out=magnitude)
            stored = target.view(np.uint16)
            np.copyto(stored, magnitude, casting="unsafe")
            if any_subnormal:  # by bit operations, many times faster than copyto(where=) here
                chosen = np.negative(subnormal.astype(np.uint16))
                np.bitwise_and(np.bitwise_xor(low[:n], stored, out=low[:n]), chosen, out=chosen)
                np.bitwise_xor(stored, chosen, out=stored)
            np.copyto(low[:n], np.right_shift(bits, np.uint32(16), out=u[:n]), casting="unsafe")
            np.bitwise_and(low[:n], _SIGN16, out=low[:n])
            np.bitwise_or(stored, low[:n], out=stored)
    return out


# Bits of float32 and float16, for encode_float16. NumPy's own cast takes one value at a time, and
# forty times as long for each that becomes subnormal.
_MAGNITUDE = np.uint32(0x7FFFFFFF)
_LOST = np.uint32(23 - 10)
_REBIAS = np.uint32((0xFFF - ((127 - 15) << 23)) % 2**32)
_HALF_BITS = np.uint32(0x3F000000)
_SMALLEST_NORMAL16 = np.float32(2.0**-14)
_SIGN16 = np.uint16(0x8000)

_NAN = (
    "{}: the data hold a NaN (or an infinity in a group whose inverse scale is 0), which has no "
    "integer; leave the tensor float or mend it"
)


class _Rounder:
    """Half away from zero, clip and store, in as few passes as NumPy allows (E2.2, E16).

    Adding copysign(below_half, t) and truncating is half_away for every float; the truncation is
    the conversion to integer itself, after the clip. The sign is moved by two bit operations,
    which NumPy vectorizes, instead of np.copysign, which it does not.
    """

    def __init__(self, dtype: np.dtype, q: IntRange, where: str) -> None:
        self.where = where
        self.bits = np.dtype(f"u{dtype.itemsize}")
        self.sign = self.bits.type(1 << (8 * dtype.itemsize - 1))
        self.half = np.asarray(below_half(dtype)).view(self.bits)[()]
        self.low, self.high = dtype.type(q.qmin), dtype.type(q.qmax)

    def __call__(self, steps: np.ndarray, scratch: np.ndarray, target: np.ndarray) -> None:
        """Round `steps` in place with the help of `scratch`, and write the integers to `target`."""
        nudge = scratch[: steps.size].reshape(steps.shape)
        np.bitwise_and(steps.view(self.bits), self.sign, out=nudge.view(self.bits))
        np.bitwise_or(nudge.view(self.bits), self.half, out=nudge.view(self.bits))
        np.add(steps, nudge, out=steps)
        # Extremes of data in cache cost less than a clip, which few blocks need, and a NaN anywhere
        # makes both NaN.
        lowest = np.minimum.reduce(steps, axis=None)
        if not (lowest > self.low - 1 and np.maximum.reduce(steps, axis=None) < self.high + 1):
            if np.isnan(lowest):
                raise NotFinite(_NAN.format(self.where))
            np.clip(steps, self.low, self.high, out=steps)
        np.copyto(target, steps, casting="unsafe")


def _multiply_round(
    w: np.ndarray, inverse: np.ndarray, q: IntRange, out: np.ndarray | None, where: str
) -> np.ndarray:
    w = _weights(w, where)
    if q.bits > 16:
        raise BadArray(f"{where}: {q} does not fit float32 steps; use at most 16 bits")
    out = _output(w, q, out, where)
    w = _c_order(w)
    if streaming.single(w, out, q, inverse):
        return out
    t, u = scratch(np.float32, np.float32)
    rounder = _Rounder(np.dtype(np.float32), q, where)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for part, target, (scale,) in pieces(w, out, (inverse,)):
            steps = t[: part.size].reshape(part.shape)
            np.multiply(part, scale, out=steps, dtype=np.float32)
            rounder(steps, u, target)
    return out


def _saturated_sum(
    steps: np.ndarray, zero_point: np.ndarray | np.integer, q: IntRange
) -> np.ndarray:
    """clip(steps + zero_point) as int64, for integral float steps of any size, infinities included.

    zero_point must be 0 when q has 64 bits.
    """
    # At or beyond the edge a step is outside q whatever its zero point; inside, int64 holds it.
    edge = steps.dtype.type(2.0**63 if q.bits > 32 else 2.0**40)
    above, below = steps >= edge, steps <= -edge
    inside = np.where(above | below, steps.dtype.type(0), steps).astype(np.int64)
    total = np.clip(np.add(inside, zero_point), q.qmin, q.qmax)
    return np.where(above, q.qmax, np.where(below, q.qmin, total))


def _c_order(x: np.ndarray) -> np.ndarray:
    return x if x.flags.c_contiguous else np.ascontiguousarray(x)


def _weights(w: np.ndarray, where: str) -> np.ndarray:
    w = np.asarray(w)
    if w.dtype not in (np.float32, np.float16):
        raise BadArray(f"{where}: needs float32 (or float16), got {w.dtype}; convert it first")
    return w


def _output(x: np.ndarray, q: IntRange, out: np.ndarray | None, where: str) -> np.ndarray:
    return _checked(out, x.shape, q.dtype, where)


def _checked(
    out: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype, where: str
) -> np.ndarray:
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise BadArray(
            f"{where}: out must be C-ordered {dtype} {shape}, got {out.dtype} {out.shape}"
        )
    return out
