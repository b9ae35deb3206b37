"""PRELU: y = x where x >= 0, else alpha * x, alpha broadcast over the batch.

alpha is quantized like a weight per tensor: symmetric, narrow. int16 needs an int8 alpha.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="PRELU",
    inputs=(Operand("input"), Operand("alpha", Role.WEIGHT)),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
)
