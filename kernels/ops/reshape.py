"""RESHAPE: y = x in another shape.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/reshape.cc.
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
    name="RESHAPE",
    inputs=(Operand("input"), Operand("shape", Role.INDEX, optional=True)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
)

NUMERICS = _move.rows(
    "copies (E65)",
    "reshape.cc; XNNPACK operators/copy",
    forms=_move.PACKED,
    xnnpack=("int8", "uint8", "plain"),
    note="a shape operand that is not a vector of int32 is ignored for the option new_shape",
)


@moves(forms=_move.PACKED)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """The elements in another shape; -1 stands for what is left."""
    x = call.x()
    shape = wanted(call)
    if x.size == 0 and -1 in shape:  # NumPy leaves 0 / 0 open
        rest = [n for n in shape if n != -1]
        kept = int(np.prod([n for n in x.shape if n]))
        free = 0 if 0 not in rest else kept // int(np.prod([n for n in rest if n]))
        shape = tuple(free if n == -1 else n for n in shape)
    return (x.reshape(shape),)


reference = fast = real


def wanted(call: Call) -> tuple[int, ...]:
    """The shape asked for: the operand where it is a vector of int32, else the option, in which
    (0,) is a scalar; tensorflow 2.21's XNNPACK makes it one axis of what there is."""
    if call.has(1) and call[1].dtype == "int32" and call.x(1).ndim == 1:
        return tuple(_move.numbers(call, 1))
    shape = tuple(int(n) for n in call.option("new_shape", ()))
    if shape == (0,):
        return (-1,) if call.profile.is_xnnpack and delegated(call) else ()
    return shape


def lower(call: Call, to: Lowering) -> None:
    """Compiled: the same bytes."""
    from kernels.simd import movement

    movement.alias(to)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    x, y = call[0], call.output
    if not _move.movable(x, y) or not _move.all_same(x, y):
        return False
    if not call.has(1):
        shape = tuple(int(n) for n in call.option("new_shape", ()))
        return shape not in ((0,), (-1,)) or not call.profile.litert
    return (
        call[1].constant
        and call[1].dtype == "int32"
        and len(call[1].shape) == 1
        and (_move.numbers(call, 1) != [-1] or not call.profile.litert)
    )
