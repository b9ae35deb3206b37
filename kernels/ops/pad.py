"""PAD: y = x with the integer of real 0 around it.

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
    name="PAD",
    inputs=(Operand("input"), Operand("paddings", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
    special=(Special(4, "more than 4 axes", rank_above(4)),),
)

NUMERICS = _move.rows(
    "copies; around it the zero point (E66)",
    "pad.cc; XNNPACK subgraph/static-constant-pad.c",
    xnnpack=("int8", "uint8", "plain"),
)


@moves
def real(call: Call) -> tuple[np.ndarray, ...]:
    """x with the integer of real 0, the output's zero point, around it (E66)."""
    x = call.x()
    zero = _move.held(call.output.z, x.dtype)
    return (np.pad(x, _move.pairs(call, 1), constant_values=zero),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    return (
        _move.movable(call[0], call.output)
        and bool(call[0].shape)
        and call[1].constant
        and call[1].dtype == "int32"
    )
