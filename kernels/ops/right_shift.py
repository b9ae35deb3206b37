"""RIGHT_SHIFT: y = a >> b, with broadcast; integers are taken without scales.

Sources: LiteRT tfl_ops.td, kernels/right_shift.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="RIGHT_SHIFT",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = _binary.rows(
    "arithmetic shift; the count is clamped to [0, bits - 1]",
    "kernels/right_shift.cc",
    (*_binary.WIDE, "plain"),
    "Scales and zero points are not looked at.",
)


def _shift(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.right_shift(a, np.clip(b, 0, a.dtype.itemsize * 8 - 1).astype(a.dtype))


real = reference = fast = _binary.raw(_shift)
