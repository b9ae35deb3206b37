"""TILE: y = x repeated along each axis.

tensorflow 2.21 has no int16 kernel; ai-edge-litert 2.3 has.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/tile.cc.
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
    name="TILE",
    inputs=(Operand("input"), Operand("multiples", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 3, "int16": 1, "uint8": 1},
    legacy_version=3,
)

NUMERICS = _move.rows("copies (E65)", "tile.cc", note="tensorflow 2.21 has no int16")


@moves(newer=("int16",))
def real(call: Call) -> tuple[np.ndarray, ...]:
    """x repeated along each axis."""
    x, times = call.x(), _move.numbers(call, 1)
    if len(times) != x.ndim or min(times, default=0) < 0:
        raise IndexError(f"multiples {times} for {x.ndim} axes")
    return (np.tile(x, times),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)
