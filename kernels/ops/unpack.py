"""UNPACK: x cut along axis into slices without that axis.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/unpack.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Tie

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="UNPACK",
    inputs=(Operand("input"),),
    outputs=(Operand("output", variadic=True),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 2},
    legacy_version=1,
)

NUMERICS = _move.rows("copies (E65)", "unpack.cc")


@moves(tied=True)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """The parts of x along axis, without that axis."""
    x = call.x()
    axis = _move.axis_of(int(call.option("axis", 0)), x.ndim)
    if int(call.option("num", x.shape[axis])) != x.shape[axis]:
        raise IndexError(f"num {call.option('num')} parts of an axis of {x.shape[axis]}")
    rest = x.shape[:axis] + x.shape[axis + 1 :]
    return tuple(np.ascontiguousarray(part).reshape(rest) for part in np.moveaxis(x, axis, 0))


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)
