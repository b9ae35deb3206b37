"""FLOOR_MOD: y = a - b * floor(a / b), with broadcast; integers are taken without scales.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/floor_mod.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="FLOOR_MOD",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 2, "int16": 2, "uint8": 1},
)
