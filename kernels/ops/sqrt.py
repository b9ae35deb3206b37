"""SQRT: y = sqrt(x); a negative x is an error when run.

In the mirror of the sources rules B know it too; tensorflow 2.21 leaves it float.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/elementwise.cc.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kernels import bounds
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.fixedpoint import wrap32
from kernels.jit import jit
from kernels.lut import truncate32
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec
from kernels.scalar import clip

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="SQRT",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    mlir=True,
    kernels=frozenset({"int8", "int16"}),
    versions={"float32": 1, "int8": 2, "int16": 2, "uint8": 1},
)

NUMERICS = (
    Row(
        "int8",
        "f32(sqrtf(s (x - z)) / s_y) truncated, plus the zero point",
        "as reference",
        source="kernels/elementwise.cc",
        note="A negative value is an error when run. A root beyond 2^31 steps becomes the smallest "
        "integer.",
    ),
    Row("int16", "as int8", "as int8", source="kernels/elementwise.cc"),
)

INT32_END = np.float32(2.0**31)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = sqrt(x), float32, correctly rounded; XNNPACK is up to 2 ulp off."""
    unary.floats(call)
    with np.errstate(invalid="ignore"):
        return (np.sqrt(call.x()),)


def bound(call: Call) -> np.ndarray:
    """2 ulp measured (XNNPACK: rsqrt and a Newton step, which fails for x above 2^126: a half is
    lost; subnormal x are 0). The other paths round correctly (E76)."""
    x, (y,) = call.x(), real(call)
    found = np.where(x > 2.0**125, np.abs(y), bounds.of_function(y, 3))
    return np.where(np.abs(x) < bounds.TINY, np.abs(y), found)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """Truncated, not rounded, before the zero point is added."""
    _check(call)
    return (unary.by_rule(call, _rule),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _check(call)
    x, y = call.x(), call.output
    if x.dtype.itemsize == 1:
        return (unary.by_codes(call, _rule),)
    out = np.empty(x.shape, np.int16)
    _loop(np.ascontiguousarray(x).ravel(), call[0].s, y.s, out.reshape(-1))
    return (out,)


def lower(call: Call, to: Lowering) -> None:
    """Compiled on 8 bits: a table of all codes."""
    from kernels.simd import operands

    operands.table_of(to, reference)


def _check(call: Call) -> None:
    unary.check(call, ("int8", "int16"))
    if call.x().size and int(call.x().min()) < call[0].z:
        raise RuntimeRefuses("SQRT: a value is negative, which the runtime does not take")


def _rule(call: Call, q: np.ndarray) -> np.ndarray:
    x, y = call[0], call.output
    real = x.s * np.maximum(q - x.z, 0).astype(np.float32)
    steps = wrap32(truncate32(np.sqrt(real) / y.s) + y.z)
    return np.clip(steps, y.range.qmin, y.range.qmax)


@jit
def _loop(x, x_scale, y_scale, out):
    for i in range(x.size):
        root = np.float32(math.sqrt(np.float32(x_scale * np.float32(x[i]))))
        steps = np.float32(root / y_scale)
        out[i] = clip(np.int64(steps), 0, 32767) if steps < INT32_END else -32768
