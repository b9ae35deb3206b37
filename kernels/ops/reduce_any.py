"""REDUCE_ANY: y = logical or of x over the axes; bool only.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/reduce.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="REDUCE_ANY",
    inputs=(Operand("input", Role.INDEX), Operand("axis", Role.INDEX)),
    outputs=(Operand("output", Role.INDEX),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
