"""SPACE_TO_DEPTH: blocks of space laid out in the channels.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/space_to_depth.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Tie

SPEC = OpSpec(
    name="SPACE_TO_DEPTH",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)
