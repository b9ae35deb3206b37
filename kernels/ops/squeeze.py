"""SQUEEZE: y = x without axes of length 1.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/squeeze.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Tie

SPEC = OpSpec(
    name="SQUEEZE",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
)
