"""RESHAPE: y = x in another shape.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/reshape.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="RESHAPE",
    inputs=(Operand("input"), Operand("shape", Role.INDEX, optional=True)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
)
