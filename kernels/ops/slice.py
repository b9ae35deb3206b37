"""SLICE: y = x[begin : begin + size].

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/slice.cc.
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
    name="SLICE",
    inputs=(Operand("input"), Operand("begin", Role.INDEX), Operand("size", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
    special=(Special(7, "int4", inputs("int4")), Special(5, "more than 4 axes", rank_above(4))),
)

NUMERICS = _move.rows(
    "copies (E65)",
    "slice.cc; XNNPACK subgraph/static-slice.c",
    forms=_move.PACKED,
    xnnpack=("int8", "uint8", "plain"),
)


@moves(forms=_move.PACKED)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """x[begin : begin + size]; size -1 goes to the end."""
    x = call.x()
    begin, size = _move.numbers(call, 1), _move.numbers(call, 2)
    cut = []
    for n, first, count in zip(x.shape, begin, size, strict=True):
        count = n - first if count == -1 else count
        if first < 0 or count < 0 or first + count > n:
            raise IndexError(f"begin {begin} and size {size} in a tensor of shape {x.shape}")
        cut.append(slice(first, first + count))
    return (np.ascontiguousarray(x[tuple(cut)]).reshape([c.stop - c.start for c in cut]),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    return (
        _move.movable(call[0], call.output)
        and call[1].constant
        and call[2].constant
        and all(n > 0 for n in _move.numbers(call, 2))
    )
