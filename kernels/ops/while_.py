"""WHILE: the inputs passed through the body subgraph as long as the condition subgraph says so.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/while.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Tie

SPEC = OpSpec(
    name="WHILE",
    inputs=(Operand("input", variadic=True),),
    outputs=(Operand("output", variadic=True),),
    tie=Tie.NONE,
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
