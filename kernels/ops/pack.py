"""PACK: inputs stacked along a new axis.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/pack.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Tie

SPEC = OpSpec(
    name="PACK",
    inputs=(Operand("input", variadic=True),),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    legacy_tie=Tie.OUTPUT,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
)
