"""REDUCE_ANY: y = logical or of x over the axes; bool only.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/reduce.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _reduce
from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="REDUCE_ANY",
    inputs=(Operand("input", Role.INDEX), Operand("axis", Role.INDEX)),
    outputs=(Operand("output", Role.INDEX),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = (Row("bool", "logical or", "logical or", source="reduce.cc"),)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """Logical or along the axes, bool."""
    if call.x(0).dtype != bool:
        raise call.refuse("only bool has a kernel; compare first")
    return (np.reshape(call.x(0).any(axis=_reduce.axes(call)), _reduce.shape(call)),)


reference = fast = real
