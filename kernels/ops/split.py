"""SPLIT: x cut along axis into equal parts.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/split.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="SPLIT",
    inputs=(Operand("axis", Role.INDEX), Operand("input")),
    outputs=(Operand("output", variadic=True),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
)
