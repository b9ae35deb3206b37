"""POW: y = a ^ b, with broadcast; float and int32 only.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/pow.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="POW",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
