"""READ_VARIABLE: y = the value of the variable.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/read_variable.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="READ_VARIABLE",
    inputs=(Operand("resource_id", Role.INDEX),),
    outputs=(Operand("value"),),
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
)
