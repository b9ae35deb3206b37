"""RANK: y = the number of axes of x.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/rank.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="RANK",
    inputs=(Operand("input"),),
    outputs=(Operand("output", Role.INDEX),),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
