"""ELU: y = x where x >= 0, else exp(x) - 1.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="ELU",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    kernels=frozenset({"int8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
