"""SPLIT_V: x cut along axis into parts of the given sizes.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/split_v.cc.
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
    name="SPLIT_V",
    inputs=(Operand("input"), Operand("size_splits", Role.INDEX), Operand("axis", Role.INDEX)),
    outputs=(Operand("output", variadic=True),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)

NUMERICS = _move.rows("copies (E65)", "split_v.cc")


@moves
def real(call: Call) -> tuple[np.ndarray, ...]:
    """Parts of the given sizes along axis; one size may be -1, what is left."""
    x, sizes = call.x(), _move.numbers(call, 1)
    axis = _move.axis_of(_move.numbers(call, 2)[0], x.ndim)
    if -1 in sizes:
        at = sizes.index(-1)
        sizes[at] = x.shape[axis] - sum(sizes) - 1
    if min(sizes, default=0) < 0 or sum(sizes) != x.shape[axis]:
        raise IndexError(f"parts of {sizes} along an axis of {x.shape[axis]}")
    parts = np.split(x, np.cumsum(sizes)[:-1], axis)
    return tuple(np.ascontiguousarray(part) for part in parts)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)
