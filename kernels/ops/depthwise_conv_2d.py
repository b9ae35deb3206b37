"""DEPTHWISE_CONV_2D: y[b,h,w,c] = act(sum_ij x[b,h*s+i,w*s+j,c div m] * w[0,i,j,c] + bias[c]), m
the channel multiplier.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/depthwise_conv.cc.
"""

from __future__ import annotations

from kernels.opspec import DynamicRange, Operand, OpSpec, Product, Role
from kernels.opversion import Special, Use, hybrid, hybrid_per_channel, inputs


def _dilated(use: Use) -> bool:
    names = ("dilation_w_factor", "dilation_h_factor")
    return any((use.option(name) or 1) != 1 for name in names)


SPEC = OpSpec(
    name="DEPTHWISE_CONV_2D",
    inputs=(
        Operand("input"),
        Operand("filter", Role.WEIGHT, axis=3),
        Operand("bias", Role.BIAS, optional=True, scale=(Product(("input", "filter")),)),
    ),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 3, "int16": 1, "uint8": 1},
    legacy_version=3,
    special=(
        Special(6, "hybrid, per channel", hybrid_per_channel),
        Special(4, "hybrid, per tensor", hybrid),
        Special(3, "int8 activations and weights", inputs("int8", "int8")),
        Special(7, "int8 activations, int4 weights", inputs("int8", "int4")),
        Special(2, "dilated", _dilated),
    ),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=True,
        asymmetric_inputs=False,
        version=6,
    ),
)
