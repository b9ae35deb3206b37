"""SQUARED_DIFFERENCE: y = (a - b)^2, with broadcast.

Rules B quantize it to int16 as well, and no runtime takes that.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/squared_difference.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="SQUARED_DIFFERENCE",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)

NUMERICS = (
    Row(
        "int8",
        "DBL of each operand from a left shift of 7, squared, DBL (E45)",
        "as reference",
        "",
        "kernels/squared_difference.cc",
        "An output multiplier of 1 or more aborts the runtime.",
    ),
    Row(
        "plain",
        "one square; integers wrap",
        "as reference",
        "float32",
        "kernels/squared_difference.cc",
    ),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = (a - b)^2 in float32; int32 wraps."""
    return _binary.raw(_squared)(call)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """Both operands on one scale, subtracted, squared, rescaled (E45)."""
    _binary.check(call, ("int8",))
    return _binary.sum_reference(call, _binary.sum_parameters(call, sign=-1, squared=True))


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _binary.check(call, ("int8",))
    return _binary.sum_fast(call, _binary.sum_parameters(call, sign=-1, squared=True))


def lower(call: Call, to: Lowering) -> None:
    """Compiled: int8."""
    from kernels.simd import operands

    _binary.check(call, ("int8",))
    operands.sum_of(to, sign=-1, squared=True)


delegated = _binary.floats_delegated


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    difference = np.subtract(a, b)
    return difference * difference
