"""QUANTIZE: q = clamp(round(x / scale) + zero_point); from integers, requantized.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/quantize.cc.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from kernels import delegate, lut
from kernels import fixedpoint as fp
from kernels.call import Call, Tensor
from kernels.errors import RuntimeRefuses
from kernels.jit import jit
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec
from kernels.opversion import Special, either
from kernels.ranges import IntRange
from kernels.rounding import half_away, half_even
from kernels.scalar import BELOW_HALF_32, BELOW_HALF_64, clip, dbl, wrap32
from kernels.trace import note

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="QUANTIZE",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=2,
    special=(
        Special(5, "uint4", either("uint4")),
        Special(4, "int4", either("int4")),
        Special(3, "per channel", lambda use: use.per_channel),
        Special(2, "int16 output", lambda use: use.outputs[0] == "int16"),
    ),
)

_SOURCE = "kernels/quantize.cc; reference/quantize.h; optimized_ops.h (AffineQuantize)"
_REQUANTIZE = "kernels/quantize.cc; reference/requantize.h; optimized_ops.h (Requantize)"
_DIVIDE = "half_away(f32(x / s)) + z (E55)"
_BLOCKS = "blocks of 8: half_even(f32(x * f32(1 / s))) + z; tail in float64, half_away (E55)"
_PRODUCT = "half_even(f32(x * f32(1 / s))) + z (E55)"
_LARGE = (
    "NaN, infinities and steps beyond int32 become -2^31 before z is added, and that sum wraps: "
    "qmin for z >= 0, qmax for z < 0; XNNPACK saturates, NaN to qmax"
)

NUMERICS = (
    Row("float32 to int8", _DIVIDE, _BLOCKS, _PRODUCT, _SOURCE, _LARGE),
    Row("float32 to uint8", _DIVIDE, _BLOCKS, _PRODUCT, _SOURCE, _LARGE),
    Row("float32 to int16", _DIVIDE, _BLOCKS, "", _SOURCE, _LARGE),
    Row("float32 to int4", _DIVIDE, _DIVIDE, "", _SOURCE, _LARGE),
    Row("float32 to uint4", _DIVIDE, _DIVIDE, "", _SOURCE, "litert only"),
    Row("float32 per channel", _DIVIDE, _DIVIDE, "", _SOURCE, "int8, uint8, int16 of any axis"),
    Row("int8 to int8", "DBL (E25)", "MIX16 over the flat tensor (E25)",
        "((x - z_x) m + 128 >> 8) + z_y, m = half_even(256 f32(s_x / s_y)) (E55)", _REQUANTIZE,
        "XNNPACK takes 1/256 <= s_x / s_y <= 128"),
    Row("uint8 to uint8", "DBL (E25)", "MIX16 over the flat tensor (E25)",
        "as int8 to int8 (E55)", _REQUANTIZE),
    Row("int8 to uint8", "DBL (E25)", "MIX16 over the flat tensor (E25)", "", _REQUANTIZE),
    Row("uint8 to int8", "DBL (E25)", "MIX16 over the flat tensor (E25)", "", _REQUANTIZE),
    Row("int8 to int16", "DBL (E25)", "DBL (E25)", "", _REQUANTIZE, "litert only"),
    Row("uint8 to int16", "DBL (E25)", "DBL (E25)", "", _REQUANTIZE, "litert only"),
    Row("int16 to int8", "DBL (E25)", "DBL (E25)", "", _REQUANTIZE),
    Row("int16 to int16", "DBL (E25)", "DBL (E25)", "", _REQUANTIZE, "zero points must be 0"),
    Row("int16 to int32", "DBL (E25)", "DBL (E25)", "", _REQUANTIZE),
    Row("int32 to int8", "DBL (E25)", "DBL (E25)", "", _REQUANTIZE),
    Row("int32 to int16", "DBL (E25)", "DBL (E25)", "", _REQUANTIZE),
)  # fmt: skip

Multiply = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
UINT4 = IntRange(0, 15, np.dtype(np.uint8))
INT32 = IntRange(fp.INT32_MIN, fp.INT32_MAX, np.dtype(np.int32))
EIGHT = ("int8", "uint8")
# Input type -> output types that the kernel takes.
REQUANTIZED = {
    "int8": ("int8", "uint8", "int16"),
    "uint8": ("int8", "uint8", "int16"),
    "int16": ("int8", "int16", "int32"),
    "int32": ("int8", "int16"),
}
LARGEST_XNNPACK = np.float32(32767)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """The real number itself: quantizing changes the form, not the meaning."""
    return (np.asarray(call[0].real(), np.float32),)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """Float32 to steps of the output (E55); integers to other integers by s_x / s_y (E25, E55)."""
    _check(call)
    if call[0].dtype == "float32":
        return (_quantized(call),)
    multiply = _mix16 if _mixed(call) else fp.multiply_double
    return (_requantized(call, call.x(0), multiply),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted; 8-bit integers through a table for each rule."""
    _check(call)
    x, y = call[0], call.output
    q = _range(y)
    out = np.empty(x.shape, q.dtype)
    if x.dtype == "float32":
        _quantize(*_by_channel(x, y), _rule(call), q.qmin, q.qmax, out.reshape(_blocked(x, y)))
        return (out,)
    flat = np.ascontiguousarray(x.x).reshape(-1)
    if x.dtype in EIGHT:
        split = flat.size // 16 * 16 if _mixed(call) else 0
        codes = np.arange(256, dtype=np.uint8).view(x.held)
        for part, multiply in (
            (slice(0, split), fp.multiply_up),
            (slice(split, None), fp.multiply_double),
        ):
            table = _requantized(call, codes, multiply)
            out.reshape(-1)[part] = lut.gather8(flat[part], table)
        return (out,)
    multiplier, shift = fp.quantize_multiplier(float(x.s) / float(y.s))
    _requantize(flat, x.z, int(multiplier), int(shift), y.z, q.qmin, q.qmax, out.reshape(-1))
    return (out,)


def lower(call: Call, to: Lowering) -> None:
    """Compiled: to 8 bits, from float32 or 8 bits."""
    from kernels.simd import operands

    (operands.quantize_floats if call[0].dtype == "float32" else operands.requantize)(to)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call: 8-bit output per tensor; from 8 bits only its own type, and
    a ratio of scales that fits an 8-bit fraction."""
    x, y = call[0], call.output
    if not (delegate.per_tensor(y) and delegate.takes_shape(x)):
        return False
    if x.dtype == "float32":
        return True
    if not delegate.per_tensor(x) or x.dtype != y.dtype:
        return False
    with np.errstate(all="ignore"):
        return bool(np.float32(1 / 256) <= x.s / y.s <= np.float32(128))


def _quantized(call: Call) -> np.ndarray:
    """float32 input (E55)."""
    x, y, q = call.x(0), call.output, _range(call.output)
    scale, zero_point = y.scales.astype(np.float32), y.zero_points
    if y.per_channel:
        along = [1] * x.ndim
        along[y.axis] = scale.size
        scale, zero_point = scale.reshape(along), zero_point.reshape(along)
    rule = _rule(call)
    with np.errstate(all="ignore"):
        if rule == XNNPACK:
            steps = x * (np.float32(1) / scale)
            steps = np.where(steps < LARGEST_XNNPACK, steps, LARGEST_XNNPACK)  # NaN: the largest
            note("steps", steps, "E55")
            total = np.maximum(half_even(steps), fp.INT32_MIN).astype(np.int64) + zero_point
            return np.clip(total, q.qmin, q.qmax).astype(q.dtype)
        if rule == DIVIDE:
            steps = x / scale
            rounded = half_away(steps)
        else:
            inverse = np.float32(1 / np.float64(scale))
            whole = (np.arange(x.size) < x.size // 8 * 8).reshape(x.shape)
            exact = x.astype(np.float64) / scale.astype(np.float64)
            product = x * inverse
            steps = np.where(whole, product, exact)
            rounded = np.where(whole, half_even(product), half_away(exact))
    note("steps", steps, "E55")
    total = fp.wrap32(lut.truncate32(rounded) + zero_point)
    return np.clip(total, q.qmin, q.qmax).astype(q.dtype)


def _requantized(call: Call, values: np.ndarray, multiply: Multiply) -> np.ndarray:
    """Integers times s_x / s_y (E25, E55), of the input's integers or of every code of its type."""
    x, y, q = call[0], call.output, _range(call.output)
    steps = fp.wrap32(values.astype(np.int64) - x.z)
    note("accumulator", steps, "E12")
    if call.profile.is_xnnpack:
        multiplier = int(np.rint(np.float32(256) * (x.s / y.s)))
        note("multiplier", multiplier, "E55")
        total = ((steps * multiplier + 128) >> 8) + y.z
    else:
        factor = fp.quantize_multiplier(float(x.s) / float(y.s))
        total = fp.wrap32(multiply(steps, *factor) + y.z)
    return np.clip(total, q.qmin, q.qmax).astype(q.dtype)


def _mix16(x: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """MIX16 over the flat tensor."""
    return fp.multiply_mixed(x.reshape(-1), multiplier, shift, 16).reshape(x.shape)


DIVIDE, BLOCKS, XNNPACK = range(3)


def _rule(call: Call) -> int:
    """How floats become steps."""
    if call.profile.is_xnnpack:
        return XNNPACK
    y = call.output
    plain = y.dtype in ("int8", "uint8", "int16") and not y.per_channel
    return BLOCKS if plain and not call.profile.is_reference else DIVIDE


def _mixed(call: Call) -> bool:
    """Whether vector code of 16 lanes requantizes: optimized, 8 to 8 bits."""
    both = call[0].dtype in EIGHT and call.output.dtype in EIGHT
    return both and call.profile.path == "optimized"


def _check(call: Call) -> None:
    """Raises RuntimeRefuses for types that the kernel of this runtime does not take."""
    x, y = call[0], call.output
    if not y.quantized:
        raise RuntimeRefuses("QUANTIZE: the output has no scale; the runtime stops in prepare")
    if call.profile.is_xnnpack and any(t.quantized and not delegate.normal(t) for t in (x, y)):
        raise RuntimeRefuses("QUANTIZE: XNNPACK takes no scale that is subnormal; it crashes")
    if x.dtype == "float32":
        taken = y.dtype in ("int8", "uint8", "int16", "int4") or (
            y.dtype == "uint4" and call.profile.litert
        )
        if not taken or (y.per_channel and y.dtype in ("int4", "uint4")):
            kind = "per channel" if y.per_channel else "output"
            raise RuntimeRefuses(f"QUANTIZE: float32 to {y.dtype} {kind} has no kernel")
        return
    taken = y.dtype in REQUANTIZED.get(x.dtype, ()) and (
        call.profile.litert or y.dtype != "int16" or x.dtype not in EIGHT
    )
    if not taken:
        raise RuntimeRefuses(f"QUANTIZE: {x.dtype} to {y.dtype} has no kernel in this runtime")
    if x.dtype == y.dtype == "int16" and (x.z or y.z):
        raise RuntimeRefuses("QUANTIZE: int16 to int16 with a zero point; the runtime stops")


def _range(t: Tensor) -> IntRange:
    """The integers of the type, all of them: a kernel gives -2^31 too."""
    return {"uint4": UINT4, "int32": INT32}.get(t.dtype) or t.range


def _blocked(x: Tensor, y: Tensor) -> tuple[int, int, int]:
    """(elements before, channels, elements after) of the axis; (1, 1, n) per tensor."""
    if not y.per_channel:
        return 1, 1, x.x.size
    before, after = x.shape[: y.axis], x.shape[y.axis + 1 :]
    return int(np.prod(before)), y.scales.size, int(np.prod(after))


def _by_channel(x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The input as (before, channels, after), scales and zero points of its channels."""
    flat = np.ascontiguousarray(x.x).reshape(_blocked(x, y))
    return flat, y.scales.astype(np.float32).reshape(-1), y.zero_points.reshape(-1)


@jit
def _steps32(t):
    """A rounded float as int32; -2^31 for NaN and what does not fit."""
    inside = t >= np.float32(-2147483648.0) and t < np.float32(2147483648.0)
    return np.int32(t if inside else np.float32(-2147483648.0))


@jit
def _steps64(t):
    inside = t > -2147483649.0 and t < 2147483648.0
    return np.int32(t if inside else -2147483648.0)


@jit
def _quantize(x, scales, zero_points, rule, qmin, qmax, out):
    before, channels, after = x.shape
    limit = after // 8 * 8 if rule == 1 else 0
    for o in range(before):
        for c in range(channels):
            s, z = scales[c], zero_points[c]
            inverse = np.float32(1.0 / np.float64(s)) if rule == 1 else np.float32(1.0) / s
            if rule == 2:
                for i in range(after):
                    t = np.float32(x[o, c, i] * inverse)
                    t = t if t < np.float32(32767.0) else np.float32(32767.0)
                    t = max(np.rint(t), np.float32(-2147483648.0))
                    out[o, c, i] = clip(np.int64(np.int32(t)) + z, qmin, qmax)
                continue
            for i in range(limit):
                t = np.rint(np.float32(x[o, c, i] * inverse))
                out[o, c, i] = clip(wrap32(_steps32(t) + z), qmin, qmax)
            if rule == 1:
                for i in range(limit, after):
                    d = np.float64(x[o, c, i]) / np.float64(s)
                    d = np.trunc(d + np.copysign(BELOW_HALF_64, d))
                    out[o, c, i] = clip(wrap32(_steps64(d) + z), qmin, qmax)
                continue
            for i in range(after):
                t = np.float32(x[o, c, i] / s)
                t = np.trunc(np.float32(t + np.copysign(BELOW_HALF_32, t)))
                out[o, c, i] = clip(wrap32(_steps32(t) + z), qmin, qmax)


@jit
def _requantize(x, x_zero_point, multiplier, shift, zero_point, qmin, qmax, out):
    for i in range(x.size):
        steps = dbl(wrap32(np.int64(x[i]) - x_zero_point), multiplier, shift)
        out[i] = clip(wrap32(steps + zero_point), qmin, qmax)
