"""BATCH_TO_SPACE_ND: blocks of the batch laid out in space, then cropped.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/batch_to_space_nd.cc.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special, inputs

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="BATCH_TO_SPACE_ND",
    inputs=(Operand("input"), Operand("block_shape", Role.INDEX), Operand("crops", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
    special=(
        Special(4, "int16", inputs("int16")),
        Special(3, "not 4 axes", lambda use: use.rank() != 4),
    ),
)

NUMERICS = _move.rows("copies (E69)", "batch_to_space_nd.cc")


@moves(tied=True)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """Batches laid out as blocks of an image, which is then cropped (E69)."""
    x, block = call.x(), _move.numbers(call, 1)
    space = len(block)
    n, c = x.shape[0] // math.prod(block), x.shape[-1]
    parts = x.reshape(*block, n, *x.shape[1:-1], c)
    order = [space, *(a for i in range(space) for a in (space + 1 + i, i)), 2 * space + 1]
    sizes = [size * b for size, b in zip(x.shape[1:-1], block, strict=True)]
    whole = parts.transpose(order).reshape(n, *sizes, c)
    inner = tuple(
        slice(before, size - after)
        for size, (before, after) in zip(sizes, _move.pairs(call, 2), strict=True)
    )
    return (np.ascontiguousarray(whole[(slice(None), *inner)]),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)
