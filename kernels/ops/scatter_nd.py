"""SCATTER_ND: y = 0 but for y[indices[i]] += updates[i].

Zeros are written as the integer 0, and equal indices add bare integers: right only where the zero
point is 0, which neither rules A nor B see to.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/scatter_nd.cc.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="SCATTER_ND",
    inputs=(Operand("indices", Role.INDEX), Operand("updates"), Operand("shape", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
)

NUMERICS = _move.rows(
    "adds bare integers, wrapping; the rest is the integer 0 (E66)",
    "scatter_nd.cc, reference_ops.h ScatterNd",
    forms=_move.EIGHT,
)


@moves(forms=_move.EIGHT)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = 0, then y[indices[i]] += updates[i] in order, in the type of the updates."""
    indices, updates = call.x(0), call.x(1)
    shape = tuple(_move.numbers(call, 2))
    depth = indices.shape[-1]
    if updates.shape != indices.shape[:-1] + shape[depth:]:
        raise IndexError(f"updates {updates.shape}, indices {indices.shape}, shape {shape}")
    if indices.size and ((indices < 0) | (indices >= shape[:depth])).any():
        raise IndexError("indices outside of the shape")
    steps = np.cumprod((1, *shape[:depth][:0:-1]))[::-1] if depth else np.zeros(0, np.int64)
    at = indices.reshape(-1, depth).astype(np.int64) @ steps
    y = np.zeros(shape, updates.dtype)
    rest = math.prod(shape[depth:])
    np.add.at(y.reshape(math.prod(shape[:depth]), rest), at, updates.reshape(at.size, rest))
    return (y,)


reference = fast = real
