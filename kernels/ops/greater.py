"""GREATER: y = (a > b) as bool, with broadcast.

With int16 inputs the runtime compares the bare integers and ignores scales, so that is no integer
kernel here.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/comparisons.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="GREATER",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output", Role.INDEX),),
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)
