"""SOFTMAX: y_i = exp(beta * x_i) / sum_j exp(beta * x_j) over the last axis.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

from kernels.opspec import Fixed, Operand, OpSpec

SPEC = OpSpec(
    name="SOFTMAX",
    inputs=(Operand("input"),),
    outputs=(
        Operand(
            "output",
            fixed={
                "int8": Fixed(1 / 256, -128),
                "int16": Fixed(1 / 32768, 0),
                "uint8": Fixed(1 / 256, 0),
            },
        ),
    ),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
)
