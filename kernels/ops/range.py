"""RANGE: y = start, start + delta, ... up to limit.

Sources: LiteRT tfl_ops.td, op_version.cc, kernels/range.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role
from kernels.opversion import Special, inputs

SPEC = OpSpec(
    name="RANGE",
    inputs=(
        Operand("start", Role.INDEX),
        Operand("limit", Role.INDEX),
        Operand("delta", Role.INDEX),
    ),
    outputs=(Operand("output", Role.INDEX),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    special=(Special(2, "int64", inputs("int64")),),
    static=False,
)

NUMERICS = (Row("plain", "adds delta again and again", "as reference", source="range.cc"),)


@moves
def real(call: Call) -> tuple[np.ndarray, ...]:
    """int32, int64 or float32; a float is the one before plus delta, rounded each time."""
    start, limit, delta = (call.x(p).ravel()[0] for p in range(3))
    if delta == 0 or (start > limit and delta > 0) or (start < limit and delta < 0):
        raise ValueError(f"from {start} to {limit} in steps of {delta}")
    if call[0].dtype == "float32":
        count = int(np.ceil(np.abs((limit - start) / delta)))
    else:
        count = -(-abs(int(limit) - int(start)) // abs(int(delta)))
    steps = np.full(count, delta)
    steps[:1] = start
    return (np.add.accumulate(steps, dtype=steps.dtype),)


reference = fast = real
