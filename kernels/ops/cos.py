"""COS: y = cos(x); no integer kernel for quantized values.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/elementwise.cc.
"""

from __future__ import annotations

import numpy as np

from kernels import bounds
from kernels.call import Call
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="COS",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = cos(x), float32; within 3e-7 where |x| < 1e4."""
    unary.floats(call, "float16")
    x = call.x()
    return (np.cos(x.astype(np.float32)).astype(x.dtype),)


def bound(call: Call) -> np.ndarray:
    """1 ulp measured (C library); XNNPACK 2 ulp of 1 up to |x| = 1e4, then growing with x as its
    reduction of x loses bits; beyond 2^24 its results mean nothing (E76)."""
    x = np.abs(call.x().astype(np.float64))
    found = bounds.of_function(1 + x / 2.0**16, 4)
    return np.where(x > 2.0**24, np.inf, found)


reference = fast = real
