"""ATAN2: y = atan2(a, b); float only.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/atan2.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="ATAN2",
    inputs=(Operand("y"), Operand("x")),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
