"""LOG: y = log(x), the smallest integer where x <= 0.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/elementwise.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels import bounds, libm
from kernels.call import Call
from kernels.lut import Function
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="LOG",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16"}),
    versions={"float32": 1, "int8": 2, "int16": 2, "uint8": 1},
    legacy_version=2,
)

NUMERICS = (
    Row(
        "int8",
        "table (E50) of logf; x <= 0 is the real value of the smallest integer",
        "as reference",
        source="kernels/elementwise.cc; internal/common.h",
    ),
    Row(
        "int16",
        "513 interpolated nodes (E51) of the same",
        "as reference",
        source="kernels/elementwise.cc; internal/common.h",
    ),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = log(x), float32; within 5e-7 (1 + |y|)."""
    unary.floats(call)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.log(call.x()),)


def bound(call: Call) -> np.ndarray:
    """3 ulp measured (C library, XNNPACK), of at least 1/2: near x = 1 XNNPACK's error does not
    shrink with y. Subnormal x are 0 there (E76)."""
    (y,) = real(call)
    found = bounds.of_function(np.maximum(np.abs(y), np.float32(0.5)), 4)
    return np.where(np.abs(call.x()) < bounds.TINY, np.inf, found)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """The table of logf, bounded below (E50, E51)."""
    unary.check(call, ("int8", "int16"))
    return (unary.look_up(call, unary.table(call, _bounded(call))),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    unary.check(call, ("int8", "int16"))
    return (unary.gather(call, unary.table(call, _bounded(call))),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled on 8 bits: a table of all codes."""
    from kernels.simd import operands

    operands.table_of(to, reference)


def _bounded(call: Call) -> Function:
    y = call.output
    least = np.float32(y.range.qmin - y.z) * y.s

    def log(x: np.ndarray) -> np.ndarray:
        return np.where(x <= 0, least, libm.log(np.where(x <= 0, np.float32(1), x)))

    return log
