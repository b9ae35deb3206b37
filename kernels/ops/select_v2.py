"""SELECT_V2: y = a where the condition holds, else b, with broadcast.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/select.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="SELECT_V2",
    inputs=(Operand("condition", Role.INDEX), Operand("x"), Operand("y")),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = _binary.rows(
    "copies", "reference/select.h", (*_binary.WIDE, "plain"), "Scales are not looked at."
)

real = reference = fast = _binary.raw(np.where)
