"""GATHER: y = x[indices] along axis.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/gather.cc.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import DynamicRange, Operand, OpSpec, Role, Tie
from kernels.opversion import Special, inputs, option

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="GATHER",
    inputs=(Operand("input"), Operand("indices", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
    special=(
        Special(7, "int4", inputs("int4")),
        Special(6, "int16 indices", lambda use: use.inputs[1] == "int16"),
        Special(5, "batch_dims", option("batch_dims")),
    ),
    dynamic=DynamicRange(
        operand=0,
        hybrid=False,
        per_channel=False,
        asymmetric_inputs=False,
        version=2,
        after=True,
    ),
)

NUMERICS = _move.rows(
    "copies (E65)",
    "gather.cc",
    forms=_move.PACKED,
    note="int4: only where an even number of elements follows the axis; else both runtimes "
    "take whole bytes and the output is undefined",
)


@moves(forms=_move.PACKED)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """y[b.., p.., i.., q..] = x[b.., p.., indices[b.., i..], q..], batch_dims axes in b."""
    x, indices = call.x(), call.x(1)
    axis = _move.axis_of(int(call.option("axis", 0)), x.ndim)
    batch = int(call.option("batch_dims", 0))
    batch += indices.ndim if batch < 0 else 0
    if indices.size and (indices.min() < 0 or indices.max() >= x.shape[axis]):
        raise IndexError(f"indices outside of 0..{x.shape[axis] - 1}")
    if not 0 <= batch <= min(axis, indices.ndim) or indices.shape[:batch] != x.shape[:batch]:
        raise IndexError(f"batch_dims {batch} for shapes {x.shape} and {indices.shape}")
    shape = x.shape[:axis] + indices.shape[batch:] + x.shape[axis + 1 :]
    after = math.prod(x.shape[axis + 1 :])
    if call[0].dtype == "int4" and after % 2:
        raise call.refuse(f"{after} int4 values follow the axis; the runtime needs an even number")
    if batch == 0:
        return (np.take(x, indices, axis),)
    batches = math.prod(x.shape[:batch])
    rows = x.reshape(batches, math.prod(x.shape[batch:axis]), x.shape[axis], after)
    at = indices.reshape(batches, math.prod(indices.shape[batch:]))
    found = rows[np.arange(batches)[:, None], :, at]  # (batches, indices, before, after)
    return (np.ascontiguousarray(found.swapaxes(1, 2)).reshape(shape),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)
