"""ONE_HOT: y = on_value at indices, off_value elsewhere.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/one_hot.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="ONE_HOT",
    inputs=(
        Operand("indices", Role.INDEX),
        Operand("depth", Role.INDEX),
        Operand("on_value"),
        Operand("off_value"),
    ),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir_tie=Tie.NONE,
    mlir=True,
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = _move.rows("copies (E65)", "one_hot.cc", forms=_move.EIGHT)


@moves(forms=_move.EIGHT)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """on_value where the position along a new axis is the index, off_value elsewhere."""
    indices = call.x(0).astype(np.int32)  # the kernel compares as int
    (depth,) = _move.numbers(call, 1)
    axis = int(call.option("axis", 0))
    axis = indices.ndim if axis == -1 else axis
    if not 0 <= axis <= indices.ndim or depth < 0:
        raise IndexError(f"axis {axis}, depth {depth}")
    places = np.arange(depth).reshape(-1, *[1] * (indices.ndim - axis))
    on, off = (call.x(p).ravel()[0] for p in (2, 3))
    return (np.where(np.expand_dims(indices, axis) == places, on, off),)


reference = fast = real
