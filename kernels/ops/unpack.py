"""UNPACK: x cut along axis into slices without that axis.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/unpack.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Tie

SPEC = OpSpec(
    name="UNPACK",
    inputs=(Operand("input"),),
    outputs=(Operand("output", variadic=True),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 2},
    legacy_version=1,
)
