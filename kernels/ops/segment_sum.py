"""SEGMENT_SUM: y[s] = the sum of x[i] over all i with segment_ids[i] = s.

Sources: LiteRT tfl_ops.td, op_version.cc, kernels/segment_sum.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="SEGMENT_SUM",
    inputs=(Operand("input"), Operand("segment_ids", Role.INDEX)),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    static=False,
)

NUMERICS = (Row("plain", "adds in order, int32 wrapping", "as reference", source="segment_sum.cc"),)


@moves(forms=())
def real(call: Call) -> tuple[np.ndarray, ...]:
    """float32 (rounded after each addition) or int32; the ids rise from 0 by steps of 0 or 1."""
    x, ids = call.x(0), call.x(1)
    if ids.shape != x.shape[:1] or ids[:1].any() or not np.isin(np.diff(ids), (0, 1)).all():
        raise ValueError("segment_ids must be one for each row, and rise from 0 by 0 or 1")
    y = np.zeros((int(ids[-1]) + 1, *x.shape[1:]), x.dtype)
    np.add.at(y, ids, x)
    return (y,)


reference = fast = real
