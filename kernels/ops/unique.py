"""UNIQUE: the different elements of x, and where each element is among them.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/unique.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="UNIQUE",
    inputs=(Operand("input"),),
    outputs=(Operand("output"), Operand("idx", Role.INDEX)),
    tie=Tie.SAME,
    mlir_tie=Tie.NONE,
    mlir=True,
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
