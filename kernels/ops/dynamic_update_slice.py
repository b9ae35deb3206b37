"""DYNAMIC_UPDATE_SLICE: y = x with update written at start_indices, the start clamped.

tensorflow 2.21 has no uint8 kernel; ai-edge-litert 2.3 has.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/dynamic_update_slice.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special, inputs

SPEC = OpSpec(
    name="DYNAMIC_UPDATE_SLICE",
    inputs=(Operand("operand"), Operand("update"), Operand("start_indices", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 4, "uint8": 1},
    special=(
        Special(5, "int4", inputs("int4")),
        Special(
            2,
            "int64 indices",
            lambda use: use.inputs[0] != "int16" and use.inputs[2] == "int64",
        ),
    ),
)

NUMERICS = _move.rows(
    "copies; the start is clipped so that the update fits (E69)",
    "dynamic_update_slice.cc",
    forms=_move.PACKED,
    note="tensorflow 2.21 has no uint8",
)


@moves(forms=_move.PACKED, newer=("uint8",))
def real(call: Call) -> tuple[np.ndarray, ...]:
    """operand with update written at start, moved inside where it would stick out (E69)."""
    y, update = call.x(0).copy(), call.x(1)
    if len(update.shape) != y.ndim or any(u > n for u, n in zip(update.shape, y.shape)):
        raise IndexError(f"an update of {update.shape} in a tensor of {y.shape}")
    at = []
    for start, u, n in zip(_move.numbers(call, 2), update.shape, y.shape, strict=True):
        first = min(max(start, 0), n - u)
        at.append(slice(first, first + u))
    y[tuple(at)] = update
    return (y,)


reference = fast = real
