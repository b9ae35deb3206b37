"""BROADCAST_TO: y = x repeated along its axes of length 1.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/broadcast_to.cc.
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
    name="BROADCAST_TO",
    inputs=(Operand("input"), Operand("shape", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 2, "int8": 3, "int16": 3, "uint8": 2},
    legacy_version=3,
)

NUMERICS = _move.rows("copies (E65)", "broadcast_to.cc, reference/broadcast_to.h")


@moves
def real(call: Call) -> tuple[np.ndarray, ...]:
    """x repeated along new axes and axes of length 1."""
    shape = tuple(_move.numbers(call, 1))
    return (np.ascontiguousarray(np.broadcast_to(call.x(), shape)).reshape(shape),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)
