"""REVERSE_V2: y = x backwards along axis.

It moves integers, so rules A of tensorflow 2.21, which tie nothing here, write files that change
the values.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/reverse.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="REVERSE_V2",
    inputs=(Operand("input"), Operand("axis", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir_tie=Tie.NONE,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 3, "int16": 1, "uint8": 1},
    legacy_version=3,
)
