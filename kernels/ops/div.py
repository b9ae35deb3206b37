"""DIV: y = act(a / b), with broadcast.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/div.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec
from kernels.opversion import Special, wide_broadcast

SPEC = OpSpec(
    name="DIV",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    mlir=True,
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    special=(Special(2, "broadcast over more than 4 axes", wide_broadcast),),
)
