"""FLOOR_DIV: y = floor(a / b), with broadcast; integers are taken without scales.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/floor_div.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="FLOOR_DIV",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    versions={"float32": 2, "int8": 3, "int16": 3, "uint8": 1},
)

NUMERICS = _binary.rows(
    "toward minus infinity; a divisor 0 stops the runtime",
    "reference/floor_div.h",
    ("int8", "int16", "plain"),
    "Scales and zero points are not looked at.",
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """floor(a / b); float32 divides in float64. Raises RuntimeRefuses where a divisor is 0."""
    if (call.x(1) == 0).any():
        raise RuntimeRefuses("FLOOR_DIV: a divisor is 0; the runtime stops")
    return _binary.raw(_floor)(call)


reference = fast = real


def _floor(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind == "f":
        return np.floor(a.astype(np.float64) / b.astype(np.float64)).astype(np.float32)
    return np.floor_divide(a, b)
