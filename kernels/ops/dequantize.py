"""DEQUANTIZE: x = scale * (q - zero_point); from float16, the same number.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/dequantize.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels import affine, delegate, lut
from kernels.call import Call, Tensor
from kernels.errors import RuntimeRefuses
from kernels.jit import jit
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec
from kernels.opversion import Special, inputs
from kernels.trace import note

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="DEQUANTIZE",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    special=(
        Special(8, "uint4", inputs("uint4")),
        Special(7, "int2", inputs("int2")),
        Special(6, "int4", inputs("int4")),
        Special(3, "float16", inputs("float16")),
        Special(5, "int8 per channel", lambda use: use.inputs[0] == "int8" and use.per_channel),
    ),
)

_SOURCE = "kernels/dequantize.h; reference/dequantize.h; optimized_ops.h (Dequantize)"
_EXACT = "f32(s * (q - z)) (E3)"
_BLOCKS = "blocks of 8: f32(f32(q * s) + f32(-z * s)); tail f32(s * (q - z)) (E56)"

NUMERICS = (
    Row("int8", _EXACT, _BLOCKS, _EXACT, _SOURCE,
        "a constant input: the optimized rule on XNNPACK too, whoever computes it"),
    Row("uint8", _EXACT, _BLOCKS, _EXACT, _SOURCE),
    Row("int16", _EXACT, _BLOCKS, "", _SOURCE, "the zero point must be 0, so the rules agree"),
    Row("int4", _EXACT, _BLOCKS, "", _SOURCE),
    Row("int2", _EXACT, _BLOCKS, "", _SOURCE),
    Row("uint4", _EXACT, _BLOCKS, "", _SOURCE, "litert only"),
    Row("per channel", _EXACT, _EXACT, "", _SOURCE, "int8, int4, int2 and uint8 of any axis"),
    Row("float16", "exact", "exact", "exact", _SOURCE),
)  # fmt: skip

TYPES = ("int8", "uint8", "int16", "int4", "int2", "uint4")


def real(call: Call) -> tuple[np.ndarray, ...]:
    """The input in real units, float32."""
    return (np.asarray(call[0].real()).astype(np.float32),)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """s * (q - z), rounded once (E3); optimized, in whole blocks of 8, two products (E56)."""
    _check(call)
    x = call[0]
    y = affine.dequantize(x.x, *_parameters(x))
    if _blocks(call):
        whole = (np.arange(x.x.size) < x.x.size // 8 * 8).reshape(x.shape)
        product, offset = x.x.astype(np.float32) * x.s, _offset(x)
        note("product", product, "E56")
        note("offset", offset, "E56")
        y = np.where(whole, product + offset, y)
    return (y,)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted; 8 bits per tensor through tables of 256."""
    _check(call)
    x = call[0]
    flat, out = np.ascontiguousarray(x.x), np.empty(x.shape, np.float32)
    split = flat.size // 8 * 8 if _blocks(call) else 0
    if x.per_channel or x.dtype == "int16":
        axis = x.axis if x.per_channel else x.x.ndim
        before, after = x.shape[:axis], x.shape[axis + 1 :]
        shape = (int(np.prod(before)), x.scales.size, int(np.prod(after)))
        scale, zero_point = x.scales.astype(np.float32).reshape(-1), x.zero_points
        _products(flat.reshape(shape), scale, zero_point, out.reshape(shape))
        return (out,)
    codes = np.arange(256, dtype=np.uint8).view(x.held)
    exact = affine.dequantize(codes, x.s, x.z)
    blocks = codes.astype(np.float32) * x.s + _offset(x)
    flat, target = flat.reshape(-1), out.reshape(-1)
    target[:split] = lut.gather8(flat[:split], blocks)
    target[split:] = lut.gather8(flat[split:], exact)
    return (out,)


def lower(call: Call, to: Lowering) -> None:
    """Compiled: 8 bits with one scale."""
    from kernels.simd import operands

    operands.dequantize(to)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call: int8 or uint8 per tensor that is not a constant."""
    x = call[0]
    if x.dtype == "int8" and x.constant:
        return False
    return delegate.per_tensor(x) and delegate.takes_shape(x)


def _blocks(call: Call) -> bool:
    """Whether the optimized vector code computes."""
    return call.profile.path == "optimized" and not call[0].per_channel


def _offset(x: Tensor) -> np.float32:
    """-z s: the product in float64, rounded once."""
    return np.float32(-x.z * float(x.s))


def _parameters(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point in a shape that broadcasts against the values."""
    along = [1] * x.x.ndim
    if x.per_channel:
        along[x.axis] = x.scales.size
    return x.scales.reshape(along), x.zero_points.reshape(along)


def _check(call: Call) -> None:
    """Raises RuntimeRefuses for what the kernel does not take."""
    x = call[0]
    if x.dtype not in TYPES or (x.dtype == "uint4" and not call.profile.litert):
        raise RuntimeRefuses(f"DEQUANTIZE: {x.dtype} has no kernel in this runtime")
    if x.dtype == "int16" and (x.z or x.per_channel):
        raise RuntimeRefuses("DEQUANTIZE: int16 with a zero point or per channel; it stops")
    if call.profile.is_xnnpack and not delegate.normal(x):
        raise RuntimeRefuses("DEQUANTIZE: XNNPACK takes no scale that is subnormal")


@jit
def _products(x, scales, zero_points, out):
    before, channels, after = x.shape
    for o in range(before):
        for c in range(channels):
            s, z = scales[c], zero_points[c]
            for i in range(after):
                out[o, c, i] = np.float32(np.int64(x[o, c, i]) - z) * s
