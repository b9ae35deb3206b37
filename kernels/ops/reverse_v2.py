"""REVERSE_V2: y = x backwards along axis.

It moves integers, so rules A of tensorflow 2.21, which tie nothing here, write files that change
the values.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/reverse.cc.
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
    name="REVERSE_V2",
    inputs=(Operand("input"), Operand("axis", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir_tie=Tie.NONE,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 3, "int16": 1, "uint8": 1},
    legacy_version=3,
)

NUMERICS = _move.rows("copies (E65)", "reverse.cc, reference/reverse (reference_ops.h)")


@moves
def real(call: Call) -> tuple[np.ndarray, ...]:
    """x backwards along the axes, which must be neighbours."""
    x = call.x()
    axes = sorted(_move.axis_of(a, x.ndim) for a in _move.numbers(call, 1))
    if axes != list(range(axes[0], axes[0] + len(axes))):
        raise IndexError(f"axes {axes} that are not neighbours")
    return (np.ascontiguousarray(np.flip(x, tuple(axes))).reshape(x.shape),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)
