"""FLOOR_DIV: y = floor(a / b), with broadcast; integers are taken without scales.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/floor_div.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="FLOOR_DIV",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    versions={"float32": 2, "int8": 3, "int16": 3, "uint8": 1},
)
