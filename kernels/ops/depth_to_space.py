"""DEPTH_TO_SPACE: blocks of channels laid out in space.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/depth_to_space.cc.
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
    name="DEPTH_TO_SPACE",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)

NUMERICS = _move.rows(
    "copies (E69)",
    "depth_to_space.cc; XNNPACK operators/transpose-nd.c",
    forms=_move.EIGHT,
    xnnpack=("int8", "uint8", "plain"),
    note="the reference path has version 1 only, which int8 may carry as well",
)


@moves(forms=_move.EIGHT)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """Channels laid out as blocks of an image, the inverse of SPACE_TO_DEPTH (E69)."""
    x, b = call.x(), int(call.option("block_size"))
    n, h, w, c = x.shape
    blocks = x.reshape(n, h, w, b, b, c // (b * b)).transpose(0, 1, 3, 2, 4, 5)
    return (blocks.reshape(n, h * b, w * b, c // (b * b)),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    return _move.movable(call[0], call.output) and int(call.option("block_size")) > 1
