"""PACK: inputs stacked along a new axis.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/pack.cc.
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
    name="PACK",
    inputs=(Operand("input", variadic=True),),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    legacy_tie=Tie.OUTPUT,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
)

NUMERICS = _move.rows("copies (E65)", "pack.cc")


@moves(tied=True)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """The inputs one after another along a new axis, counted in the result."""
    return (np.stack([call.x(p) for p in range(len(call.inputs))], int(call.option("axis", 0))),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)
