"""MIRROR_PAD: y = x with its mirror image around it.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/mirror_pad.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="MIRROR_PAD",
    inputs=(Operand("input"), Operand("paddings", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
)
