"""LOG_SOFTMAX: y_i = x_i - log(sum_j exp(x_j)) over the last axis.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

from kernels.opspec import Fixed, Operand, OpSpec

SPEC = OpSpec(
    name="LOG_SOFTMAX",
    inputs=(Operand("input"),),
    outputs=(
        Operand("output", fixed={"int8": Fixed(16 / 256, 127), "uint8": Fixed(16 / 256, 255)}),
    ),
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)
