"""PADV2: y = x with a given value around it.

Rules A quantize the value with the parameters of the operator; rules B leave it float beside an
integer input, which no runtime takes.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/pad.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special, rank_above

SPEC = OpSpec(
    name="PADV2",
    inputs=(Operand("input"), Operand("paddings", Role.INDEX), Operand("constant_values")),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    legacy_tie=Tie.FIRST,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
    special=(Special(4, "more than 4 axes", rank_above(4)),),
)
