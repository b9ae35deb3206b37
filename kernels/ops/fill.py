"""FILL: y = value in every place of the shape dims.

tensorflow 2.21 has no uint8 kernel; ai-edge-litert 2.3 has.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/fill.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="FILL",
    inputs=(Operand("dims", Role.INDEX), Operand("input")),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 3, "int16": 3, "uint8": 1},
    legacy_version=3,
)

NUMERICS = _move.rows("copies (E65)", "fill.cc", note="tensorflow 2.21 has no uint8")


@moves(tied=True, newer=("uint8",))
def real(call: Call) -> tuple[np.ndarray, ...]:
    """The value in every element of a new tensor."""
    value = call.x(1)
    return (np.full(_move.numbers(call, 0), value.reshape(()), value.dtype),)


reference = fast = real
