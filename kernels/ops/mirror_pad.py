"""MIRROR_PAD: y = x with its mirror image around it.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/mirror_pad.cc.
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
    name="MIRROR_PAD",
    inputs=(Operand("input"), Operand("paddings", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
)

NUMERICS = _move.rows("copies (E65)", "mirror_pad.cc")

REFLECT, SYMMETRIC = 0, 1


@moves(tied=True)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """x and its mirror image on each side, the edge itself repeated in mode SYMMETRIC only."""
    x, amounts = call.x(), _move.pairs(call, 1)
    reflect = int(call.option("mode", REFLECT)) == REFLECT
    for n, pair in zip(x.shape, amounts, strict=True):
        if max(pair) > n - reflect:
            raise IndexError(f"mirror image of {max(pair)} on an axis of {n}")
    return (np.pad(x, amounts, mode="reflect" if reflect else "symmetric"),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)
