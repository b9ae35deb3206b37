"""MATRIX_DIAG: y = matrices with x on their diagonals.

The rest is the integer 0, which is real 0 only where the zero point is 0.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/matrix_diag.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
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

NUMERICS = _move.rows(
    "copies; the rest is the integer 0 (E66)", "matrix_diag.cc", note="bool is written as float32"
)


@moves
def real(call: Call) -> tuple[np.ndarray, ...]:
    """Square matrices with x on their diagonals."""
    x = call.x()
    if x.dtype == np.bool_:
        raise call.undefined("the runtime writes bool as float32, beyond its output; cast to int8")
    y = np.zeros((*x.shape, x.shape[-1]), x.dtype)
    at = np.arange(x.shape[-1])
    y[..., at, at] = x
    return (y,)


reference = fast = real
