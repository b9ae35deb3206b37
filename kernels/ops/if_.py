"""IF: the outputs of one of two subgraphs, called with the inputs after the condition.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/if.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="IF",
    inputs=(Operand("cond", Role.INDEX), Operand("input", optional=True, variadic=True)),
    outputs=(Operand("output", optional=True, variadic=True),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
