"""TRANSPOSE: y = x with its axes in the order perm.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/transpose.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special, inputs, rank_above

SPEC = OpSpec(
    name="TRANSPOSE",
    inputs=(Operand("input"), Operand("perm", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 5, "uint8": 1},
    legacy_version=2,
    special=(
        Special(8, "more than 6 axes", rank_above(6)),
        Special(7, "int4", inputs("int4")),
        Special(6, "6 axes", rank_above(5)),
        Special(5, "int16", inputs("int16")),
        Special(4, "5 axes", rank_above(4)),
    ),
)
