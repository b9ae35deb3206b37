"""FLOOR_MOD: y = a - b * floor(a / b), with broadcast; integers are taken without scales.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/floor_mod.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="FLOOR_MOD",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 2, "int16": 2, "uint8": 1},
)

NUMERICS = _binary.rows(
    "the remainder with the divisor's sign; an integer divisor 0 stops the runtime",
    "reference/floor_mod.h",
    ("int8", "int16", "plain"),
    "Scales and zero points are not looked at.",
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """a - b floor(a / b). Raises RuntimeRefuses where an integer divisor is 0."""
    if call.x(1).dtype.kind in "iu" and (call.x(1) == 0).any():
        raise RuntimeRefuses("FLOOR_MOD: a divisor is 0; the runtime stops")
    return _binary.raw(_remainder)(call)


reference = fast = real


def _remainder(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    rest = np.fmod(a, b)
    return np.where((rest != 0) & ((b < 0) != (rest < 0)), rest + b, rest)
