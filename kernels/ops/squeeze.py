"""SQUEEZE: y = x without axes of length 1.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/squeeze.cc.
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
    name="SQUEEZE",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
)

NUMERICS = _move.rows("copies (E65)", "squeeze.cc", forms=_move.PACKED)


@moves(forms=_move.PACKED)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """Without the axes of squeeze_dims, or without every axis of length 1."""
    x = call.x()
    axes = tuple(_move.axis_of(int(a), x.ndim) for a in call.option("squeeze_dims", ()))
    return (np.squeeze(x, axes or None),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: the same bytes."""
    from kernels.simd import movement

    movement.alias(to)
