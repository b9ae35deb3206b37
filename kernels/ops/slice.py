"""SLICE: y = x[begin : begin + size].

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/slice.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special, inputs, rank_above

SPEC = OpSpec(
    name="SLICE",
    inputs=(Operand("input"), Operand("begin", Role.INDEX), Operand("size", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
    special=(Special(7, "int4", inputs("int4")), Special(5, "more than 4 axes", rank_above(4))),
)
