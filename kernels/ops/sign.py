"""SIGN: y = -1, 0 or 1; no integer kernel for quantized values.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/sign.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="SIGN",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
NUMERICS = (Row("int32", "-1, 0 or 1", "as reference", source="kernels/sign.cc"),)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = -1, 0 or 1: float32, float64, int32; NaN stays NaN."""
    unary.floats(call, "float64", "int32")
    return (np.sign(call.x()),)


reference = fast = real
