"""SQRT: y = sqrt(x); a negative x is an error when run.

In the mirror of the sources rules B know it too; tensorflow 2.21 leaves it float.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/elementwise.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="SQRT",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    mlir=True,
    kernels=frozenset({"int8", "int16"}),
    versions={"float32": 1, "int8": 2, "int16": 2, "uint8": 1},
)
