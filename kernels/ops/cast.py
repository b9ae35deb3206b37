"""CAST: y = x in another type, as bare numbers: scales mean nothing to it.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/cast.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="CAST",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
