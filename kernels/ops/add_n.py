"""ADD_N: y = the sum of all inputs; float and int32 only.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/add_n.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec, Tie

SPEC = OpSpec(
    name="ADD_N",
    inputs=(Operand("input", variadic=True),),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = (Row("plain", "summed in order", "as reference", "", "kernels/add_n.cc"),)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = the sum of the inputs from the first to the last, float32 or int32 (which wraps)."""
    values = [call.x(i) for i in range(len(call.inputs))]
    if len(values) < 2 or any(v.shape != values[0].shape for v in values):
        raise RuntimeRefuses("ADD_N: takes two inputs or more, all of one shape")
    total = np.zeros_like(values[0])
    with np.errstate(all="ignore"):
        for value in values:
            total = total + value
    return (np.asarray(total),)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """There is no integer kernel."""
    raise RuntimeRefuses("ADD_N: the runtime takes float32 and int32 only; use ADD")


fast = reference
