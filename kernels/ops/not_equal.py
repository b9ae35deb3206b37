"""NOT_EQUAL: y = (a != b) as bool, with broadcast.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/comparisons.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="NOT_EQUAL",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output", Role.INDEX),),
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
)
