"""WHERE: y = coordinates of the elements that are not zero.

Integers are looked at bare, so real 0 counts unless its integer is 0. Rules B have it in their
table, but stop at it: its output never has a range.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/where.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role
from kernels.opversion import Special, inputs

SPEC = OpSpec(
    name="WHERE",
    inputs=(Operand("condition"),),
    outputs=(Operand("output", Role.INDEX),),
    versions={"float32": 2, "int8": 2, "int16": 2, "uint8": 2},
    legacy_version=1,
    special=(Special(1, "bool", inputs("bool")),),
)
