"""MATRIX_SET_DIAG: y = x with another diagonal.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/matrix_set_diag.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Tie

SPEC = OpSpec(
    name="MATRIX_SET_DIAG",
    inputs=(Operand("input"), Operand("diagonal")),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir_tie=Tie.NONE,
    mlir=True,
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
