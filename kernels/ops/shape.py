"""SHAPE: y = the shape of x.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/shape.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="SHAPE",
    inputs=(Operand("input"),),
    outputs=(Operand("output", Role.INDEX),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
)

NUMERICS = _move.rows("the lengths of the axes", "shape.cc", forms=_move.PACKED)

TYPES = {2: np.int32, 4: np.int64}  # TensorType


@moves(forms=_move.PACKED)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """The lengths of the axes, int32 or int64 (option out_type)."""
    return (np.array(call[0].shape, TYPES.get(int(call.option("out_type", 2)), np.int32)),)


reference = fast = real
