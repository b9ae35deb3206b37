"""SPACE_TO_BATCH_ND: space padded and cut in blocks, one batch element each.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/space_to_batch_nd.cc.
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
    name="SPACE_TO_BATCH_ND",
    inputs=(Operand("input"), Operand("block_shape", Role.INDEX), Operand("paddings", Role.INDEX)),
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

NUMERICS = _move.rows("copies; padding is the zero point (E66, E69)", "space_to_batch_nd.cc")


@moves(tied=True)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """Blocks of a padded image, laid side by side in the batch (E69)."""
    x, block = call.x(), _move.numbers(call, 1)
    zero = _move.held(call.output.z, x.dtype)
    amounts = [(0, 0), *_move.pairs(call, 2), (0, 0)]
    padded = np.pad(x, amounts, constant_values=zero)
    n, c, space = x.shape[0], x.shape[-1], len(block)
    cut = [m for size, b in zip(padded.shape[1:-1], block, strict=True) for m in (size // b, b)]
    parts = padded.reshape(n, *cut, c)
    order = [*range(2, 2 * space + 1, 2), 0, *range(1, 2 * space, 2), 2 * space + 1]
    return (parts.transpose(order).reshape(n * math.prod(block), *cut[::2], c),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)
