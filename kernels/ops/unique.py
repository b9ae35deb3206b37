"""UNIQUE: the different elements of x, and where each element is among them.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/unique.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="UNIQUE",
    inputs=(Operand("input"),),
    outputs=(Operand("output"), Operand("idx", Role.INDEX)),
    tie=Tie.SAME,
    mlir_tie=Tie.NONE,
    mlir=True,
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    static=False,
)

NUMERICS = _move.rows("copies (E65)", "unique.cc")

TYPES = {2: np.int32, 4: np.int64}  # TensorType


@moves
def real(call: Call) -> tuple[np.ndarray, ...]:
    """The values in order of first appearance, and for each element the place of its value."""
    x = call.x()
    if x.ndim != 1:
        raise IndexError(f"{x.ndim} axes, where one is taken")
    _, first, inverse = np.unique(x, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    kind = TYPES.get(int(call.option("idx_out_type", 2)), np.int32)
    return x[first[order]], place[inverse].astype(kind)


reference = fast = real
