"""MATRIX_SET_DIAG: y = x with another diagonal.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/matrix_set_diag.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
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

NUMERICS = _move.rows("copies (E65)", "matrix_set_diag.cc", note="bool is written as float32")


@moves
def real(call: Call) -> tuple[np.ndarray, ...]:
    """x with other diagonals."""
    y = call.x().copy()
    if y.dtype == np.bool_:
        raise call.undefined("the runtime writes bool as float32, beyond its output; cast to int8")
    at = np.arange(min(y.shape[-2:]))
    y[..., at, at] = call.x(1).reshape(*y.shape[:-2], at.size)
    return (y,)


reference = fast = real
