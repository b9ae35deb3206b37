"""ROUND: y = x rounded half to even; no integer kernel for quantized values.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/round.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="ROUND",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = x rounded to an integer, ties to even; float32, float16."""
    unary.floats(call, "float16")
    return (np.rint(call.x()),)


reference = fast = real
