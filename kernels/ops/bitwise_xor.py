"""BITWISE_XOR: y = a ^ b bit by bit, with broadcast; integers are taken without scales.

Sources: LiteRT tfl_ops.td, kernels/bitwise_xor.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="BITWISE_XOR",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = _binary.rows(
    "bits",
    "kernels/bitwise_xor.cc",
    (*_binary.WIDE, "plain"),
    "Scales and zero points are not looked at.",
)

real = reference = fast = _binary.raw(np.bitwise_xor)
