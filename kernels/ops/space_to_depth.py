"""SPACE_TO_DEPTH: blocks of space laid out in the channels.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/space_to_depth.cc.
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
    name="SPACE_TO_DEPTH",
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
    "space_to_depth.cc; XNNPACK operators/transpose-nd.c",
    forms=_move.EIGHT,
    xnnpack=("int8", "uint8", "plain"),
)


@moves(forms=_move.EIGHT)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """Blocks of an image, laid side by side in the channels (E69)."""
    x, b = call.x(), int(call.option("block_size"))
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // b, b, w // b, b, c).transpose(0, 1, 3, 2, 4, 5)
    return (blocks.reshape(n, h // b, w // b, b * b * c),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    return _move.movable(call[0], call.output) and int(call.option("block_size")) > 1
