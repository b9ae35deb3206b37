"""TILE: y = x repeated along each axis.

tensorflow 2.21 has no int16 kernel; ai-edge-litert 2.3 has.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/tile.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="TILE",
    inputs=(Operand("input"), Operand("multiples", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 3, "int16": 1, "uint8": 1},
    legacy_version=3,
)
