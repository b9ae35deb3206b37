"""L2_POOL_2D: y = act(sqrt(mean of x^2 over each window)); float only.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/pooling.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="L2_POOL_2D",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
