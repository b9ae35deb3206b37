"""BROADCAST_ARGS: y = the shape to which two shapes broadcast.

Sources: LiteRT tfl_ops.td, op_version.cc, kernels/broadcast_args.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="BROADCAST_ARGS",
    inputs=(Operand("s0", Role.INDEX), Operand("s1", Role.INDEX)),
    outputs=(Operand("r0", Role.INDEX),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    static=False,
)

NUMERICS = (Row("plain", "the longer of two axes", "as reference", source="broadcast_args.cc"),)


@moves
def real(call: Call) -> tuple[np.ndarray, ...]:
    """Axes count from the last; one of length 1 takes the other's. int32 or int64."""
    a, b = call.x(0), call.x(1)
    return (np.array(np.broadcast_shapes(tuple(a.tolist()), tuple(b.tolist())), a.dtype),)


reference = fast = real
