"""SPARSE_TO_DENSE: y = default_value but for y[indices[i]] = values[i].

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/sparse_to_dense.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="SPARSE_TO_DENSE",
    inputs=(
        Operand("indices", Role.INDEX),
        Operand("shape", Role.INDEX),
        Operand("values"),
        Operand("default_value"),
    ),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir_tie=Tie.NONE,
    mlir=True,
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 3, "int16": 1, "uint8": 3},
)

NUMERICS = _move.rows("copies (E65)", "sparse_to_dense.cc", forms=_move.EIGHT)


@moves(forms=_move.EIGHT)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """default_value everywhere, then the values at their indices; the last one stays."""
    shape, values = _move.numbers(call, 1), call.x(2)
    indices = call.x(0).reshape(-1, len(shape)).astype(np.int64)
    if len(shape) > 4 or (indices.size and ((indices < 0) | (indices >= shape)).any()):
        raise IndexError(f"indices outside of {shape}, or more than 4 axes")
    y = np.full(shape, call.x(3).ravel()[0], values.dtype)
    for index, value in zip(indices, np.broadcast_to(values, len(indices)), strict=True):
        y[tuple(index)] = value
    return (y,)


reference = fast = real
