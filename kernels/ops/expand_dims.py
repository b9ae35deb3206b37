"""EXPAND_DIMS: y = x with an axis of length 1 more.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/expand_dims.cc.
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
    name="EXPAND_DIMS",
    inputs=(Operand("input"), Operand("axis", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
)

NUMERICS = _move.rows("copies (E65)", "expand_dims.cc", forms=_move.PACKED)


@moves(tied=True, forms=_move.PACKED)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """A new axis of length 1, counted in the result."""
    (axis,) = _move.numbers(call, 1)
    return (np.expand_dims(call.x(), axis),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: the same bytes."""
    from kernels.simd import movement

    movement.alias(to)
