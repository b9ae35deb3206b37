"""SHAPE: y = the shape of x.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/shape.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="SHAPE",
    inputs=(Operand("input"),),
    outputs=(Operand("output", Role.INDEX),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
)
