"""DEPTH_TO_SPACE: blocks of channels laid out in space.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/depth_to_space.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Tie

SPEC = OpSpec(
    name="DEPTH_TO_SPACE",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)
