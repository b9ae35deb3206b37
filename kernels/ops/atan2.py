"""ATAN2: y = atan2(a, b); float only.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/atan2.cc.
"""

from __future__ import annotations

import numpy as np

from kernels import bounds
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="ATAN2",
    inputs=(Operand("y"), Operand("x")),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = (Row("plain", "atan2f", "as reference", "", "kernels/atan2.cc", "Within 1 ulp."),)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """atan2(y, x) in float32; no broadcast."""
    if call[0].shape != call[1].shape:
        raise RuntimeRefuses("ATAN2: both operands need one shape; the runtime does not broadcast")
    return (np.arctan2(call.x(0), call.x(1)),)


def bound(call: Call) -> np.ndarray:
    """4 ulp measured (C library; E76)."""
    return bounds.of_function(real(call)[0], 5)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """There is no integer kernel."""
    raise RuntimeRefuses("ATAN2: the runtime takes floats only")


fast = reference
