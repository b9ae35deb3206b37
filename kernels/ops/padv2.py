"""PADV2: y = x with a given value around it.

Rules A quantize the value with the parameters of the operator; rules B leave it float beside an
integer input, which no runtime takes.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/pad.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special, rank_above

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="PADV2",
    inputs=(Operand("input"), Operand("paddings", Role.INDEX), Operand("constant_values")),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    legacy_tie=Tie.FIRST,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
    special=(Special(4, "more than 4 axes", rank_above(4)),),
)

NUMERICS = _move.rows("copies; around it the third operand's integer (E65)", "pad.cc")


@moves
def real(call: Call) -> tuple[np.ndarray, ...]:
    """x with the third operand around it."""
    x = call.x()
    value = call.x(2).astype(x.dtype).reshape(())
    return (np.pad(x, _move.pairs(call, 1), constant_values=value),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)
