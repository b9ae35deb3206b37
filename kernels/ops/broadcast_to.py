"""BROADCAST_TO: y = x repeated along its axes of length 1.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/broadcast_to.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="BROADCAST_TO",
    inputs=(Operand("input"), Operand("shape", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 2, "int8": 3, "int16": 3, "uint8": 2},
    legacy_version=3,
)
