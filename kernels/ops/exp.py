"""EXP: y = exp(x).

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/exp.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels import bounds, libm
from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="EXP",
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
        "table, half away before the zero point (E50)",
        "as reference",
        source="kernels/exp.cc; internal/common.h",
    ),
    Row(
        "int16",
        "513 interpolated nodes (E51)",
        "as reference",
        source="kernels/exp.cc; internal/common.h",
        note="Where exp(x) overflows float32 a node is 0 or the largest integer.",
    ),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = exp(x), float32; within 4e-6 of its size."""
    unary.floats(call)
    with np.errstate(over="ignore"):
        return (np.exp(call.x()),)


def bound(call: Call) -> np.ndarray:
    """2 ulp measured (C library); XNNPACK rounds log2(e) and x log2(e) to float32, which costs up
    to 1.25 |x| U, and overflows above 2^127 already (E76)."""
    x, (y,) = call.x().astype(np.float64), real(call)
    with np.errstate(over="ignore", invalid="ignore"):
        found = bounds.of_function(y * (1 + np.abs(x) * 5 / 32), 4)
    return np.where(y >= 2.0**127, np.inf, np.where(y == 0, bounds.TINY, found))


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """The table of expf (E50, E51)."""
    unary.check(call, ("int8", "int16"))
    return (unary.look_up(call, unary.table(call, libm.exp)),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    unary.check(call, ("int8", "int16"))
    return (unary.gather(call, unary.table(call, libm.exp)),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled on 8 bits: a table of all codes."""
    from kernels.simd import operands

    operands.table_of(to, reference)
