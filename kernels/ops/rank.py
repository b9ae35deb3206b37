"""RANK: y = the number of axes of x.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/rank.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="RANK",
    inputs=(Operand("input"),),
    outputs=(Operand("output", Role.INDEX),),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = _move.rows("the number of axes", "rank.cc", forms=_move.PACKED)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """The number of axes, an int32 scalar."""
    return (np.array(len(call[0].shape), np.int32),)


reference = fast = real
