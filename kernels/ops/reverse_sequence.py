"""REVERSE_SEQUENCE: y = x with the first seq_lengths[b] steps of each b backwards.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/reverse_sequence.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role, Tie

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="REVERSE_SEQUENCE",
    inputs=(Operand("input"), Operand("seq_lengths", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir_tie=Tie.NONE,
    mlir=True,
    kernels=frozenset({"int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = _move.rows("copies (E65)", "reverse_sequence.cc", forms=("int16", "uint8"))


@moves(forms=("int16", "uint8"))
def real(call: Call) -> tuple[np.ndarray, ...]:
    """The first seq_lengths[b] elements along seq_dim backwards, for each b along batch_dim."""
    x, lengths = call.x(), call.x(1).astype(np.int64)
    along, batch = int(call.option("seq_dim", 0)), int(call.option("batch_dim", 0))
    along, batch = _move.axis_of(along, x.ndim), _move.axis_of(batch, x.ndim)
    if along == batch or lengths.shape != (x.shape[batch],):
        raise IndexError(f"seq_dim {along}, batch_dim {batch}, {lengths.size} lengths")
    if lengths.size and (lengths.min() < 0 or lengths.max() > x.shape[along]):
        raise IndexError(f"lengths outside of 0..{x.shape[along]}")
    axes = [1] * x.ndim
    axes[batch] = -1
    n = lengths.reshape(axes)
    axes[batch], axes[along] = 1, -1
    at = np.arange(x.shape[along]).reshape(axes)
    return (np.take_along_axis(x, np.where(at < n, n - 1 - at, at), along),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)
