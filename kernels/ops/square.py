"""SQUARE: y = x^2; no integer kernel for quantized values.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/elementwise.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="SQUARE",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = x^2, float32."""
    unary.floats(call)
    return (np.square(call.x()),)


reference = fast = real
