"""LOCAL_RESPONSE_NORMALIZATION: y = x / (bias + alpha * sum of x^2 over the neighbouring
channels)^beta; float only.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/local_response_norm.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="LOCAL_RESPONSE_NORMALIZATION",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
