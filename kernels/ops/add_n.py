"""ADD_N: y = the sum of all inputs; float and int32 only.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/add_n.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Tie

SPEC = OpSpec(
    name="ADD_N",
    inputs=(Operand("input", variadic=True),),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
