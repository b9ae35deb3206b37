"""WHERE: y = coordinates of the elements that are not zero.

Integers are looked at bare, so real 0 counts unless its integer is 0. Rules B have it in their
table, but stop at it: its output never has a range.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/where.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role
from kernels.opversion import Special, inputs

SPEC = OpSpec(
    name="WHERE",
    inputs=(Operand("condition"),),
    outputs=(Operand("output", Role.INDEX),),
    versions={"float32": 2, "int8": 2, "int16": 2, "uint8": 2},
    legacy_version=1,
    special=(Special(1, "bool", inputs("bool")),),
    static=False,
)

NUMERICS = _move.rows("looks at bare integers", "where.cc", forms=_move.EIGHT)


@moves(forms=_move.EIGHT)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """The coordinates of what is not 0, row-major, int64 (count, axes); bare integers count."""
    x = call.x()
    if x.ndim == 0:
        raise IndexError("a scalar, where axes are needed")
    return (np.argwhere(x).astype(np.int64),)


reference = fast = real
