"""MATRIX_DIAG: y = matrices with x on their diagonals.

The rest is the integer 0, which is real 0 only where the zero point is 0.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/matrix_diag.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Tie

SPEC = OpSpec(
    name="MATRIX_DIAG",
    inputs=(Operand("diagonal"),),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir_tie=Tie.NONE,
    mlir=True,
    kernels=frozenset({"int16"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
