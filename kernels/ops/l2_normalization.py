"""L2_NORMALIZATION: y = x / sqrt(sum x^2) over the last axis.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/l2norm.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels import activation, bounds
from kernels import fixedpoint as fp
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.gemmlowp import inverse_sqrt, inverse_sqrt_scalar
from kernels.jit import jit
from kernels.numerics import Row
from kernels.opspec import Fixed, Operand, OpSpec
from kernels.scalar import clip, dbl, wrap32
from kernels.trace import note

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="L2_NORMALIZATION",
    inputs=(Operand("input"),),
    outputs=(Operand("output", fixed={"int8": Fixed(1 / 128, 0), "uint8": Fixed(1 / 128, 128)}),),
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)

_SOURCE = "kernels/l2norm.cc; reference/integer_ops/l2normalization.h; reference/l2normalization.h"

NUMERICS = (
    Row("int8", "1 / sqrt in fixed point (E41), DBL with the shift raised by 7 (E25, E58)",
        "the same", "", _SOURCE, "tensorflow 2.21 takes at most 4 axes"),
    Row("uint8", "1 / sqrt in fixed point (E41), DBL of 128 (x - z) (E25, E58)",
        "the same", "", _SOURCE, "tensorflow 2.21 takes at most 4 axes"),
)  # fmt: skip

EPSILON = np.float32(1e-6)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """x / max(sqrt(sum x^2), 1e-6), float32; the sum in float64, rounded once."""
    x = np.asarray(call[0].real(), np.float32)
    total = np.square(x, dtype=np.float64).sum(axis=-1, keepdims=True).astype(np.float32)
    return (x / np.maximum(np.sqrt(total), EPSILON),)


def bound(call: Call) -> np.ndarray:
    """The sum of squares in another order, and half of its error through the root (E75)."""
    (y,) = real(call)
    return bounds.gamma(y.shape[-1] + 6) * np.abs(y.astype(np.float64)) + bounds.TINY


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """(x - z) / sqrt(sum (x - z)^2) in steps of 1/128; the scale of x cancels out (E58)."""
    _check(call)
    x, y = call.x(0).astype(np.int64) - call[0].z, call.output
    total = fp.wrap32((x * x).sum(axis=-1, keepdims=True))
    multiplier, shift = inverse_sqrt(total)
    note("sum", total, "E58")
    note("multiplier", multiplier, "E41")
    if y.dtype == "int8":
        steps = fp.multiply_double(x, multiplier, shift + 7)
    else:
        steps = fp.multiply_double(128 * x, multiplier, shift) + 128
    return (np.clip(steps, y.range.qmin, y.range.qmax).astype(y.held),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _check(call)
    y = call.output
    x = np.ascontiguousarray(call.x(0)).reshape(-1, call[0].shape[-1])
    out = np.empty(x.shape, y.held)
    _rows(x, call[0].z, y.dtype == "int8", y.range.qmin, y.range.qmax, out)
    return (out.reshape(call[0].shape),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled: 8 bits."""
    from kernels.simd import normalize

    normalize.l2(to)


def _check(call: Call) -> None:
    """Raises RuntimeRefuses for types, parameters and options that the kernel does not take."""
    x, y = call[0], call.output
    if x.dtype not in ("int8", "uint8") or y.dtype != x.dtype or not x.shape:
        raise RuntimeRefuses(f"L2_NORMALIZATION: {x.dtype} to {y.dtype} of {x.shape}: no kernel")
    if len(x.shape) > 4 and not call.profile.litert:
        raise RuntimeRefuses("L2_NORMALIZATION: tensorflow 2.21 takes at most 4 axes")
    if float(y.s) != 1 / 128 or y.z != (0 if y.dtype == "int8" else 128):
        raise RuntimeRefuses("L2_NORMALIZATION: output scale must be 1/128, zero point the middle")
    if activation.fused(call) != activation.NONE:
        raise RuntimeRefuses("L2_NORMALIZATION: takes no fused activation")


@jit
def _rows(x, zero_point, signed, qmin, qmax, out):
    for r in range(x.shape[0]):
        total = np.int64(0)
        for i in range(x.shape[1]):
            v = np.int64(x[r, i]) - zero_point
            total += v * v
        multiplier, shift = inverse_sqrt_scalar(wrap32(total))
        for i in range(x.shape[1]):
            v = np.int64(x[r, i]) - zero_point
            if signed:
                steps = dbl(v, multiplier, shift + 7)
            else:
                steps = dbl(128 * v, multiplier, shift) + 128
            out[r, i] = clip(steps, qmin, qmax)
