"""SQUARED_DIFFERENCE: y = (a - b)^2, with broadcast.

Rules B quantize it to int16 as well, and no runtime takes that.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/squared_difference.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="SQUARED_DIFFERENCE",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)
