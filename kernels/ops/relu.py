"""RELU: y = max(x, 0).

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="RELU",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 2},
    legacy_version=2,
)

NUMERICS = (
    Row(
        "int8",
        "DBL (E25), ratio of scales in float32; bounds as E29",
        "as reference",
        source="kernels/activations.cc; internal/reference/reference_ops.h (ReluX)",
    ),
    Row("uint8", "as int8", "as int8", source="kernels/activations.cc"),
    Row("int16", "as int8", "as int8", source="kernels/activations.cc"),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = max(x, 0)."""
    unary.floats(call)
    return (np.maximum(call.x(), 0),)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """y = clip(z_y + DBL(x - z_x), lo, hi)."""
    return (unary.reference(call, unary.bounded(call, 0.0, None, unary.ALL)),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    return (unary.fast(call, unary.bounded(call, 0.0, None, unary.ALL)),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled on 8 bits, a table of all codes, and on float32."""
    from kernels.simd import floats, operands

    if not call.form:
        floats.clamp(to, 0.0, math.inf)
        return
    operands.table_of(to, reference)
