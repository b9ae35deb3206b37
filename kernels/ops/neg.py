"""NEG: y = -x.

The runtime accepts int8 and int16, negates the bare integers and ignores zero points: no integer
kernel in our sense.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/neg.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="NEG",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
