"""TRANSPOSE: y = x with its axes in the order perm.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/transpose.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special, inputs, rank_above

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="TRANSPOSE",
    inputs=(Operand("input"), Operand("perm", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 5, "uint8": 1},
    legacy_version=2,
    special=(
        Special(8, "more than 6 axes", rank_above(6)),
        Special(7, "int4", inputs("int4")),
        Special(6, "6 axes", rank_above(5)),
        Special(5, "int16", inputs("int16")),
        Special(4, "5 axes", rank_above(4)),
    ),
)

NUMERICS = _move.rows(
    "copies (E65)",
    "transpose.cc; XNNPACK operators/transpose-nd.c",
    forms=_move.PACKED,
    xnnpack=("int8", "uint8", "plain"),
)


@moves(forms=_move.PACKED)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """Axis i of the result is axis perm[i] of x."""
    x = call.x()
    perm = [_move.axis_of(p, x.ndim) for p in _move.numbers(call, 1)]
    return (np.ascontiguousarray(x.transpose(perm)).reshape([x.shape[p] for p in perm]),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    return _move.movable(call[0]) and call[1].constant and bool(call[0].shape)
