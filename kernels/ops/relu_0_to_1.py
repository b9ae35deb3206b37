"""RELU_0_TO_1: y = min(max(x, 0), 1).

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="RELU_0_TO_1",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    mlir=True,
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = (
    Row(
        "int8",
        "DBL (E25), ratio of scales in float32; bounds as E29",
        "as reference",
        source="kernels/activations.cc; internal/reference/reference_ops.h (ReluX)",
        note="Where the upper bound leaves int32 (an output scale below 3e-9 or so), every output "
        "is the zero point.",
    ),
    Row("uint8", "as int8", "as int8", source="kernels/activations.cc"),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = min(max(x, 0), 1)."""
    unary.floats(call)
    return (np.clip(call.x(), 0, 1),)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """y = clip(z_y + DBL(x - z_x), lo, hi)."""
    return (unary.reference(call, unary.bounded(call, 0.0, 1.0, unary.EIGHT)),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    return (unary.fast(call, unary.bounded(call, 0.0, 1.0, unary.EIGHT)),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled on 8 bits, a table of all codes, and on float32."""
    from kernels.simd import floats, operands

    if not call.form:
        floats.clamp(to, 0.0, 1.0)
        return
    operands.table_of(to, reference)
