"""SPLIT: x cut along axis into equal parts.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/split.cc.
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
    name="SPLIT",
    inputs=(Operand("axis", Role.INDEX), Operand("input")),
    outputs=(Operand("output", variadic=True),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
)

NUMERICS = _move.rows(
    "copies (E65)",
    "split.cc; XNNPACK subgraph/even-split.c",
    xnnpack=("int8", "uint8", "plain"),
)


@moves
def real(call: Call) -> tuple[np.ndarray, ...]:
    """num_splits equal parts along axis."""
    (axis,) = _move.numbers(call, 0)
    x = call.x(1)
    parts = np.split(x, int(call.option("num_splits")), _move.axis_of(axis, x.ndim))
    return tuple(np.ascontiguousarray(part) for part in parts)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call: 2 to 4 parts."""
    return (
        2 <= len(call.outputs) <= 4 and call[0].constant and _move.movable(call[1], *call.outputs)
    )
