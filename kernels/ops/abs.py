"""ABS: y = |x|.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/elementwise.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec
from kernels.opversion import Special, bare_int16

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="ABS",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 2},
    legacy_version=2,
    special=(Special(4, "int16 without quantization", bare_int16),),
)

NUMERICS = (
    Row(
        "int8",
        "DBL (E25) of |x - z|, ratio of scales in float32",
        "as reference",
        source="kernels/elementwise.cc",
    ),
    Row("int16", "as int8", "as int8", source="kernels/elementwise.cc"),
    Row("int32", "the bare integers; the lowest stays", "as reference"),
    Row(
        "int16, bare",
        "-",
        "the bare integers; the lowest stays",
        source="kernels/elementwise.cc",
        note="Without a scale, version 4, which the reference kernels do not have.",
    ),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = |x|, float32; int32 and bare int16, whose lowest value stays as it is."""
    unary.floats(call, "int32", "int16")
    return (np.abs(call.x()),)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """y = clip(z_y + DBL(|x - z_x|)) (E54); int32 has no scale, and is as it is."""
    if call[0].dtype == "int32":
        return real(call)
    return (unary.reference(call, _sides(call)),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    if call[0].dtype == "int32":
        return real(call)
    return (unary.fast(call, _sides(call)),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled on 8 bits: a table of all codes."""
    from kernels.simd import operands

    operands.table_of(to, reference)


def _sides(call: Call) -> unary.Sides:
    unary.check(call, ("int8", "int16"))
    x, y = call[0], call.output
    multiplier, shift = unary.factor(call)
    return unary.Sides(
        x.z, y.z, y.range.qmin, y.range.qmax, (multiplier,) * 2, (shift,) * 2, before=(1, -1)
    )
