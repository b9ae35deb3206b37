"""MAXIMUM: y = max(a, b), with broadcast, compared as integers.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/maximum_minimum.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Tie
from kernels.opversion import Special, inputs, wide_broadcast

SPEC = OpSpec(
    name="MAXIMUM",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    legacy_tie=Tie.OUTPUT,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
    special=(
        Special(4, "int16", inputs("int16")),
        Special(3, "broadcast over more than 4 axes", wide_broadcast),
    ),
)
