"""RELU_0_TO_1: y = min(max(x, 0), 1).

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="RELU_0_TO_1",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    mlir=True,
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
