"""ZEROS_LIKE: y = 0 in the shape of x; no integer kernel for quantized values.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/zeros_like.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="ZEROS_LIKE",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
NUMERICS = (
    Row("int32", "0", "as reference", source="kernels/zeros_like.cc"),
    Row("int64", "0", "as reference", source="kernels/zeros_like.cc"),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = 0 in the shape of x: float32, int32, int64."""
    unary.floats(call, "int32", "int64")
    return (np.zeros_like(call.x()),)


reference = fast = real
