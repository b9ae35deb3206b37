"""SPLIT_V: x cut along axis into parts of the given sizes.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/split_v.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="SPLIT_V",
    inputs=(Operand("input"), Operand("size_splits", Role.INDEX), Operand("axis", Role.INDEX)),
    outputs=(Operand("output", variadic=True),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)
