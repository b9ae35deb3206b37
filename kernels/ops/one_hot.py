"""ONE_HOT: y = on_value at indices, off_value elsewhere.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/one_hot.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="ONE_HOT",
    inputs=(
        Operand("indices", Role.INDEX),
        Operand("depth", Role.INDEX),
        Operand("on_value"),
        Operand("off_value"),
    ),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir_tie=Tie.NONE,
    mlir=True,
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
