"""GATHER_ND: y[i] = x[indices[i]], each index a vector.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/gather_nd.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="GATHER_ND",
    inputs=(Operand("params"), Operand("indices", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 3, "uint8": 1},
    legacy_version=3,
    special=(Special(4, "int16 indices", lambda use: use.inputs[1] == "int16"),),
)

NUMERICS = _move.rows("copies (E65)", "gather_nd.cc, reference/gather_nd (reference_ops.h)")


@moves
def real(call: Call) -> tuple[np.ndarray, ...]:
    """y[i..] = x[indices[i..]], an index of as many axes as the last of `indices` is long."""
    x, indices = call.x(), call.x(1)
    depth = indices.shape[-1]
    if indices.size and (indices < 0).any():
        raise IndexError("negative indices")
    outer = indices.shape[:-1]
    at = tuple(np.moveaxis(indices, -1, 0))
    shape = outer + x.shape[depth:]
    return (np.ascontiguousarray(np.broadcast_to(x[at], shape)).reshape(shape),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)
